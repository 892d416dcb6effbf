"""The `run` command: a Python function over every record of files."""
