"""Shell commands, as `exec` runs them in a worker."""
