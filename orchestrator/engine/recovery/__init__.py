"""What failed: retries, lost chunks, blame, and dead letters."""
