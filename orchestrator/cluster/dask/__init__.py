"""Chunks as tasks of a cluster of Dask."""
