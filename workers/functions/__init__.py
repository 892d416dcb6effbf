"""Runs user functions over the items of a chunk."""
