"""The engine that runs functions in this process, for debuggers."""
