"""Lines of text, which results are written as where nothing says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from workers.records.formats.format import Format
from workers.records.formats.json_text import json_line, to_json
from workers.records.formats.output import LineEncoder, ResultError
from workers.records.formats.registry import register


@register
@dataclass(frozen=True)
class Lines(Format):
    """A record is the text of a line."""

    name: ClassVar[str] = "lines"
    told: ClassVar[str] = "text without its line end (default)"
    writes: ClassVar[bool] = True
    holds: ClassVar[tuple[type, ...]] = (str, bytes)

    def encoder(self) -> LineEncoder:
        """Return what writes text and bytes as they are, anything else as JSON."""
        return _TextEncoder()


class _TextEncoder(LineEncoder):
    def text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise ResultError("iterating bytes would give single numbers")
        return to_json(value)

    def at_once(self, values: list[Any], /) -> bytes:
        lines = [*values, ""] if type(values[0]) is str else [*map(self.text, values), ""]
        try:
            return "\n".join(lines).encode()
        except TypeError:
            return "\n".join(map(self.text, lines)).encode()

    def one(self, value: Any, /, *, raw: bool) -> bytes:
        try:
            return super().one(value, raw=raw)
        except UnicodeEncodeError:
            if isinstance(value, str):
                raise
            return json_line(value)
