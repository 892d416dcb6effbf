"""Sets how many workers a pool has, at the start and while it runs."""
