"""Makes text of others safe for a terminal: file names, prints of user code, error texts.

A terminal obeys control sequences in whatever is written to it: they clear the screen, hide or forge lines, set its
title, have it type an answer. So such text loses them. Text that goes to a file or a pipe stays as it is, but for our
own messages, which are read in a terminal sooner or later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, clearing (ECMA-48, section 5.4)
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\n\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-Z\\^-~]"  # all others of two or three characters
)
_SUSPECT = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters but for tab and line end, marks that turn the direction of writing, and bytes that are no text."""


def visible(text: str) -> str:
    r"""Return text without control sequences.

    Single control characters become visible: \x07.
    """
    # The patterns are compiled when a text needs them: that takes a millisecond, which most commands never spend.
    if text.isprintable() or re.search(_SUSPECT, text) is None:
        return text
    return re.sub(_SUSPECT, _escaped, re.sub(_SEQUENCE, "", text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def for_stream(text: str, stream: TextIO) -> str:
    """Return the text of others, without control sequences if the stream is a terminal."""
    is_terminal = getattr(stream, "isatty", None)
    if is_terminal is None or not is_terminal():
        return text
    return visible(text.replace("\r\n", "\n").replace("\r", "\n"))
