"""The version of this package."""

from orchestrator import __version__


def version() -> str:
    """Return the version.

    importlib.metadata is not asked, as it takes 40 ms to load.
    """
    return __version__
