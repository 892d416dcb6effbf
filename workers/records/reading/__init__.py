"""Reads the records of chunks in the workers, and runs functions over them."""
