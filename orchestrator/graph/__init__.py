"""The graph inside the coordinator: nodes, the outlets between them, and the engine that runs them over a pool."""
