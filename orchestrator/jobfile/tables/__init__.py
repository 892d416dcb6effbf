"""The tables and keys of a job file, from the methods of `Stream`, `Workflow` and `Pool`."""
