"""The parts that run, exec and job share: skeleton, console, signals, resume, summary, exit codes."""
