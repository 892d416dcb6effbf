"""What a worker process is: its environment, limits, random numbers, and the ways out."""
