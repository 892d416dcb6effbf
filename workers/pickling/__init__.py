"""Pickling of objects and functions: by value, by name, or as a part of `__main__`."""
