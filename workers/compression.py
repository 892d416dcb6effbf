"""Read compressed files, and compress blocks one by one so that the pieces put together are a valid file.

gzip, bzip2, xz and Zstandard all define a file as a row of members (RFC 1952 section 2.2 for gzip, RFC 8878
section 3 for Zstandard), so workers compress their blocks on their own and the pieces are simply put in a
row.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from types import ModuleType


class CompressionError(Exception):
    """Compressed data can't be read or written here; the message says why."""


def require(kind: str | None) -> None:
    """Raise CompressionError if `kind` needs a package that isn't installed."""
    if kind == "zst":
        _zstandard()


def reader(raw: IO[bytes], kind: str) -> IO[bytes]:
    """Return a file that gives the decompressed bytes of `raw`, over all of its members."""
    if kind == "gz":
        import gzip  # noqa: PLC0415 - each codec is loaded only when it is needed

        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if kind == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2File(raw)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lzma.LZMAFile(raw)
    return cast("IO[bytes]", _zstandard().ZstdDecompressor().stream_reader(raw, read_across_frames=True))


def read_errors(kind: str) -> tuple[type[BaseException], ...]:
    """Return what reading damaged data of this kind raises."""
    if kind == "gz":
        import zlib  # noqa: PLC0415

        return (EOFError, OSError, zlib.error)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return (EOFError, OSError, lzma.LZMAError)
    if kind == "zst":
        return (EOFError, OSError, _zstandard().ZstdError)
    return (EOFError, OSError, ValueError)


def compress(kind: str, data: bytes) -> bytes:
    """Return `data` as one whole member; levels that favour speed, as the workers are there to be fast."""
    if kind == "gz":
        import gzip  # noqa: PLC0415

        return gzip.compress(data, 5, mtime=0)  # no time stamp: the same input gives the same bytes
    if kind == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.compress(data, 9)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lzma.compress(data, preset=2)
    return cast("bytes", _zstandard().ZstdCompressor(level=3).compress(data))


def decompress(kind: str, data: bytes) -> bytes:
    """Undo `compress`."""
    import io  # noqa: PLC0415

    return reader(io.BytesIO(data), kind).read()


def _zstandard() -> ModuleType:
    try:
        import zstandard  # noqa: PLC0415
    except ImportError:
        raise CompressionError("for .zst files, install the extra: pip install 'orchestrator[zst]'") from None
    return cast("Any", zstandard)  # type: ignore[no-any-return]
