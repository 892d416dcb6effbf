"""Reads compressed files, and compresses blocks so that they are a valid file together.

gzip, bzip2, xz and Zstandard all define a file as a row of members (RFC 1952 section 2.2 for gzip, RFC 8878
section 3 for Zstandard), so workers compress their blocks on their own and the pieces are simply put in a
row.
"""

from __future__ import annotations

import importlib
import io
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_PIECE_BYTES = 128 * 1024
_BEGINNINGS = {
    b"\x1f\x8b\x08": "gz",
    b"BZh1AY&SY": "bz2",  # without the digit behind "h", the size of its blocks
    b"BZh\x17rE8P\x90": "bz2",  # one that holds nothing
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}


class CompressionError(Exception):
    """Compressed data can't be read or written here.

    The message says why.
    """


def require(kind: str | None) -> None:
    """Raise CompressionError if `kind` needs a package that isn't installed."""
    if kind == "zst":
        _zstd()


def kind_of(head: bytes) -> str | None:
    """Return how data is compressed, by its first bytes, or None."""
    known = _without_digit(head)
    return next((kind for beginning, kind in _BEGINNINGS.items() if known.startswith(beginning)), None)


def may_be(head: bytes) -> bool:
    """Tell whether more bytes are needed to know."""
    known = _without_digit(head)
    return any(len(known) < len(beginning) and beginning.startswith(known) for beginning in _BEGINNINGS)


def _without_digit(head: bytes) -> bytes:
    return b"BZh" + head[4:] if head[:3] == b"BZh" and head[3:4].isdigit() else head


def reader(raw: IO[bytes], kind: str) -> IO[bytes]:
    """Return a file that gives the decompressed bytes of `raw`, over all of its members."""
    if kind == "gz":
        import gzip  # noqa: PLC0415 - each codec is loaded only when it is needed

        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    return io.BufferedReader(_Members(raw, _decompressor(kind)), _PIECE_BYTES)


class _Members(io.RawIOBase):
    """The decompressed bytes of a row of members.

    The standard library's files (`BZ2File`, `LZMAFile`) take whatever stands behind the first member, if it doesn't
    begin like another one, for garbage to be ignored: a damaged second member would be lost without a word.
    """

    def __init__(self, raw: IO[bytes], make: Callable[[], Any]) -> None:
        self._raw = raw
        self._make = make
        self._member = make()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        """Decompress into a buffer, and return 0 only at the end.

        Raises:
            EOFError: the file ends within a member.
        """
        while (piece := self._next_piece()) is not None:
            if data := self._member.decompress(piece, len(into)):
                into[: len(data)] = data
                return len(data)
        return 0

    def _next_piece(self) -> bytes | None:
        """Return the next input of the member, which may be a new one by now.

        None: the end.
        """
        if self._member.eof:
            rest: bytes = self._member.unused_data.lstrip(b"\0")  # zeros are padding
            while not rest:
                piece: bytes = self._raw.read(_PIECE_BYTES)
                if not piece:
                    return None
                rest = piece.lstrip(b"\0")
            self._member = self._make()
            return rest
        if not self._member.needs_input:
            return b""
        piece = self._raw.read(_PIECE_BYTES)
        if not piece:
            msg = "the file ends in the middle of its compressed data"
            raise EOFError(msg)
        return piece


def _decompressor(kind: str) -> Callable[[], Any]:
    if kind == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.BZ2Decompressor
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lzma.LZMADecompressor
    return cast("Callable[[], Any]", _zstd().ZstdDecompressor)


def read_errors(kind: str) -> tuple[type[BaseException], ...]:
    """Return the exceptions that reading damaged data of this kind raises."""
    if kind == "gz":
        import zlib  # noqa: PLC0415

        return (EOFError, OSError, zlib.error)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return (EOFError, OSError, lzma.LZMAError)
    if kind == "zst":
        return (EOFError, OSError, _zstd().ZstdError)
    return (EOFError, OSError, ValueError)


def compress(kind: str, data: bytes) -> bytes:
    """Return `data` as one whole member.

    The levels favour speed, as the workers are there to be fast.
    """
    if kind == "gz":
        import gzip  # noqa: PLC0415

        return gzip.compress(data, 5, mtime=0)  # no time stamp: the same input gives the same bytes
    if kind == "bz2":
        import bz2  # noqa: PLC0415

        return bz2.compress(data, 9)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lzma.compress(data, preset=2)
    zstd = _zstd()
    parameters = zstd.CompressionParameter
    options = {parameters.compression_level: 3, parameters.checksum_flag: 1}  # by default damage goes unnoticed
    return cast("bytes", zstd.compress(data, options=options))


def decompress(kind: str, data: bytes) -> bytes:
    """Undo `compress`."""
    return reader(io.BytesIO(data), kind).read()


def _zstd() -> ModuleType:
    """Return Python 3.14's module, or its backport: unlike `zstandard`, it tells a file that was cut short."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise CompressionError("reading or writing .zst needs the extra: pip install 'orchestrator-pool[zst]'")
