"""The graph inside the coordinator: nodes, the outlets between them, and the runner."""
