"""What run, exec and job share while they run: skeleton, console, signals, resume, summary, report, exit codes."""
