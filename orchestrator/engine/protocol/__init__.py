"""What stages and engines say to each other: the engine protocol, events, encoded functions."""
