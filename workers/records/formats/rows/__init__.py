"""Rows of CSV: where they end, how they are read, and how they are written."""
