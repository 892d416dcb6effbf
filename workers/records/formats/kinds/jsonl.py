"""JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from workers.records.formats.format import Format
from workers.records.formats.json_text import json_line, parser_for, to_json
from workers.records.formats.output import LineEncoder
from workers.records.formats.registry import register
from workers.records.formats.text import lines_of, without_bad
from workers.records.records import Records

if TYPE_CHECKING:
    from workers.records.blocks import Head
    from workers.records.ranges import Raw


@register
@dataclass(frozen=True)
class JsonLines(Format):
    """A record is what the JSON of a line means.

    Blank lines are none.
    """

    name: ClassVar[str] = "jsonl"
    told: ClassVar[str] = "the decoded JSON of each line"
    suffixes: ClassVar[Mapping[str, Mapping[str, Any]]] = {".jsonl": {}, ".ndjson": {}}
    writes: ClassVar[bool] = True

    def records_of(self, text: str, head: Head | None) -> Records:  # noqa: ARG002 - lines need none
        """Cut text into lines that are parsed when it is their turn."""
        lines = lines_of(text, "\n")
        values = list(filter(str.strip, lines))
        parse = parser_for(text)
        if len(values) == len(lines):
            return Records(values, parse)

        @cache
        def not_blank() -> list[int]:
            return [i for i, line in enumerate(lines) if line.strip()]

        return Records(values, parse, lambda index: not_blank()[index])

    def without_bad(self, text: str, bad: list[Any], raw: Raw, head: Head | None) -> Records:  # noqa: ARG002 - as above
        """Cut text into lines, without those that could not be decoded."""
        return without_bad(Records([], parser_for(text)), lines_of(text, "\n"), bad, blank_too=True)

    def letter(self, item: Any, head: Callable[[], Head | None]) -> tuple[bytes, Head | None]:
        """Return a line, or a value as one."""
        if isinstance(item, str | bytes):
            return super().letter(item, head)
        return json.dumps(item).encode() + b"\n", None

    def encoder(self) -> LineEncoder:
        """Return what writes a JSON value a line, whatever it is."""
        return _JsonEncoder()


class _JsonEncoder(LineEncoder):
    def at_once(self, values: list[Any], /) -> bytes:
        lines = list(map(to_json, values))
        lines.append("")  # for the last line end
        return "\n".join(lines).encode()

    def one(self, value: Any, /, *, raw: bool) -> bytes:  # noqa: ARG002 - there are no bytes in JSON
        return json_line(value)
