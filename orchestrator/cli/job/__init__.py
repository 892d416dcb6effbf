"""The command `job`: a flow described by a TOML file."""
