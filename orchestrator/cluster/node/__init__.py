"""What runs on a node: a pool of our own, which a task hands its chunk to. Never imports Dask."""
