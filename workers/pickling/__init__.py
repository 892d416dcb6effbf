"""How objects and functions travel: by value, by name, or as a part of `__main__`."""
