"""The worker process: its environment, limits, random numbers, and exits."""
