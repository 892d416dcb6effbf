"""Formats of records: how files are cut into ranges, read, and written."""
