"""The protocol between stages and engines: calls, events, encoded functions."""
