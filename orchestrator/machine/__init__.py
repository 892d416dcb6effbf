"""The resources of this machine: memory, CPUs, a terminal."""
