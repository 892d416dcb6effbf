"""The coordinator's end of a worker: its process, its lane, and what travels there."""
