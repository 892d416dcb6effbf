"""Encodings of text, and what can be done with the bytes of each.

Line ends, delimiters and quotation marks are looked for in bytes. That is right for UTF-8 and for codes of one byte a
character that agree with ASCII. Text in any other encoding is made UTF-8 as it is read, in front of everything else.
"""

from __future__ import annotations

import codecs
import io
from functools import cache
from typing import IO, Any

_UTF_8 = {"utf-8", "utf-8-sig"}
_PIECE_BYTES = 128 * 1024
_BAD = "\udcff"
"""Stands for bytes that are not of the encoding: in UTF-8 it is not allowed, so the record that has it is refused."""
_BAD_BYTES = "orchestrator-bad-bytes"


@cache
def normalized(name: str) -> str:
    """Return an encoding's own name.

    Raises:
        LookupError: Python knows no such encoding of text.
        ValueError: it can't be a name, or is not for reading.
    """
    codec = codecs.lookup(name)
    if not getattr(codec, "_is_text_encoding", True):
        raise LookupError(f"{name} is no encoding of text")
    codecs.getincrementaldecoder(name)("replace").decode("\n".encode(name), final=True)  # "idna" and "undefined" can't
    return "utf-8" if codec.name in _UTF_8 else codec.name


@cache
def is_bytewise(name: str) -> bool:
    """Tell whether each ASCII character is its one byte in an encoding, and no byte is a part of another character."""
    if name in _UTF_8:
        return True
    every = bytes(range(256))
    try:
        found = [every[n : n + 1].decode(name, "replace") for n in range(256)]
    except UnicodeError:
        return False
    return "".join(found[:128]).encode("utf-8") == every[:128] and _is_charmap(name, found)


def _is_charmap(name: str, found: list[str]) -> bool:
    """Tell whether bytes mean the same alone as behind one another."""
    if any(len(each) != 1 for each in found):
        return False
    return all(bytes((n, 0x40)).decode(name, "replace") == found[n] + "@" for n in range(128, 256)) and all(
        bytes((n, m)).decode(name, "replace") == found[n] + found[m] for n in range(128, 256) for m in (0xA1, 0xC0)
    )


class Recoded(io.RawIOBase):
    """The text of a stream of bytes as UTF-8."""

    def __init__(self, raw: IO[bytes], encoding: str, errors: str) -> None:
        """Take what is read, its encoding, and "strict" or "replace" for bytes that are not of it."""
        codecs.register_error(_BAD_BYTES, _mark)
        decoder = codecs.getincrementaldecoder(encoding)
        self._decoder = decoder(_BAD_BYTES if errors == "strict" else errors)
        self._raw = raw
        self._pending = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, into: Any, /) -> int:
        """Read into a buffer, and return 0 only at the end."""
        while not self._pending and not self._ended:
            piece = self._raw.read(_PIECE_BYTES)
            self._ended = not piece
            text = self._decoder.decode(piece, self._ended)
            self._pending = memoryview(text.encode("utf-8", "surrogatepass"))
        taken = self._pending[: len(into)]
        into[: len(taken)] = taken
        self._pending = self._pending[len(taken) :]
        return len(taken)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, or b"" at the end."""
        if size < 0:
            return self.readall()
        into = bytearray(size)
        return bytes(into[: self.readinto(into)])


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _BAD, error.end
