"""The stream patterns: nodes that split, merge, join and window."""
