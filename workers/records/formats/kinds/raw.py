"""What is read as it is: bytes in blocks of one size, and whole files, of which the function gets the names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workers.records.formats.cutting import Cutter, SizeCutter
from workers.records.formats.format import Cuts, Format, PlainFile, as_bytes
from workers.records.formats.registry import register
from workers.records.records import Records, Span

if TYPE_CHECKING:
    from workers.records.blocks import Head
    from workers.records.ranges import Raw


class _AsItIs(Format):
    is_text: ClassVar[bool] = False
    is_raw: ClassVar[bool] = True


@register
@dataclass(frozen=True)
class Blocks(_AsItIs):
    """A record is so many bytes."""

    name: ClassVar[str] = "blocks"
    told: ClassVar[str] = "raw bytes"
    unit: ClassVar[str] = "block"
    holds: ClassVar[tuple[type, ...]] = (bytes,)

    def cut(self, file: PlainFile, block_bytes: int, most_bytes: int) -> Cuts:
        """Cut at the size of a record."""
        found = super().cut(file, block_bytes, most_bytes)
        return found._replace(ranges=(each._replace(exact=True) for each in found.ranges))

    def cutter(self, block_bytes: int, most_bytes: int) -> Cutter:  # noqa: ARG002 - a record has the size of a block
        """Return what cuts at the size of a record."""
        return SizeCutter(block_bytes)

    def split(self, raw: Raw, head: Head | None, *, skip: bool) -> Records:  # noqa: ARG002 - there is nothing to cut
        """Return the one record."""
        if not len(raw.data):
            return Records([])
        return Records([bytes(raw.data)], line_index=lambda _: 0, find_rows=lambda data: [Span(0, 0, len(data))])

    def letter(self, item: Any, head: Callable[[], Head | None]) -> tuple[bytes, Head | None]:  # noqa: ARG002 - as above
        """Return the bytes."""
        return as_bytes(item), None


@register
@dataclass(frozen=True)
class Files(_AsItIs):
    """A record is the path of a file."""

    name: ClassVar[str] = "files"
    told: ClassVar[str] = "the path itself"
    unit: ClassVar[str] = "file"
    holds: ClassVar[tuple[type, ...]] = (str,)
