"""The `exec` command: a command of the shell for every argument, as GNU parallel does."""
