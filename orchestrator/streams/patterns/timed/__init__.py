"""Nodes for runs of neighbouring items: windows by count and time, sessions, and a pace."""
