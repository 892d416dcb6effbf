"""Blocks of files: read, cut into records, and written as output."""
