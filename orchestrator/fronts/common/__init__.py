"""What fronts share: whose pool it is, when it ends, and how errors look."""
