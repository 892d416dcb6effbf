"""The files that a run writes about each attempt at a chunk or a command: job log, trace."""
