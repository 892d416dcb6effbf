"""Pools with the faces of others, thin over `Pool`, for programs that are written for those."""
