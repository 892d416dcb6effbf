"""The engine of this machine: one coordinator loop and its worker processes."""
