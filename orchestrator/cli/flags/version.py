"""Which version this is."""

from orchestrator import __version__


def version() -> str:
    """Return the version; not asked of importlib.metadata, which takes 40 ms to load."""
    return __version__
