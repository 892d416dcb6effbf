"""The pure core: events in, actions out; no process, file or clock."""
