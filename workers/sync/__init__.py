"""Barriers, collectives and shared objects in shared memory."""
