"""Blocks of records for the commands' standard input, as under --pipe and --pipepart."""
