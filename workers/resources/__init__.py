"""Resource pools whose limit holds across processes."""
