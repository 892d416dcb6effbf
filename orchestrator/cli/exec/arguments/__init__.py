"""The arguments of commands: lines of sources, split into columns, combined, and packed into rows."""
