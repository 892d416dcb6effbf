"""What a run writes about each try at a chunk or a command: job log, trace."""
