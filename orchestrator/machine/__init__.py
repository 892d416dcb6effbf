"""What this machine has: memory, CPUs, a terminal."""
