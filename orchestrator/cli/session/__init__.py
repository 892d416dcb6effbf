"""What run, exec and job share while they run: console, signals, resume, summary, exit codes."""
