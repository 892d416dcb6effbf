"""Nodes that take in everything before they give anything, in bounded memory: groups and sorted items."""
