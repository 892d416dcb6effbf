"""Submitted calls: their options, their futures, and the thread that drives these."""
