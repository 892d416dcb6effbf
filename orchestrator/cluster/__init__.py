"""Engines whose workers are elsewhere: an executor of the program's, or a cluster of Dask."""
