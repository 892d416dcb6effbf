"""What a stage asks of whatever runs its chunks."""
