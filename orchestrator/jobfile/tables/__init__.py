"""Which tables a job file may have, and which keys: the methods of `Stream`, `Workflow` and `Pool`."""
