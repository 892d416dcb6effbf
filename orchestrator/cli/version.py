"""Which version this is."""

from __future__ import annotations


def version() -> str:
    """Return the installed version; the one in the source where nothing is installed."""
    try:
        from orchestrator import __version__  # noqa: PLC0415
    except ImportError:
        from importlib import metadata  # noqa: PLC0415

        try:
            return metadata.version("orchestrator")
        except metadata.PackageNotFoundError:
            return "(not installed)"
    return str(__version__)
