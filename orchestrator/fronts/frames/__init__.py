"""What workers run of a frame for `fronts.pandas`, and how the results travel."""
