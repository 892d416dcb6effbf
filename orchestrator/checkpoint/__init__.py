"""Checkpoints on disk: the journal of a run's state and the fingerprint that a resume compares."""
