"""Slices of a chunk, and the columns of values that steps make of them."""
