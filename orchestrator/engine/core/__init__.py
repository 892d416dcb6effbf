"""The pure core: events in, actions out, without process, file or clock."""
