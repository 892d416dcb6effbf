"""How many workers a pool has: what was asked for, and who changes it while it runs."""
