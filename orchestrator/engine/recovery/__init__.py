"""Recovery from failures: retries, lost chunks, blame, and dead letters."""
