"""Where chunks come from: files, pipes and standard input."""
