"""Creates, appends to, replaces and syncs files."""
