"""The sources of chunks: files, pipes and standard input."""
