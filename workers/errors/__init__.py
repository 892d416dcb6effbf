"""Exceptions as data, and descriptions that never raise."""
