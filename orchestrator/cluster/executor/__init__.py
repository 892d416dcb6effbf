"""Chunks as tasks of a `concurrent.futures.Executor`."""
