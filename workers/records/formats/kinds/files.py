"""Whole files, of which the function gets the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workers.records.formats.format import Format
from workers.records.formats.registry import register


@register
@dataclass(frozen=True)
class Files(Format):
    """A record is the path of a file."""

    name: ClassVar[str] = "files"
    told: ClassVar[str] = "the path itself"
    is_text: ClassVar[bool] = False
    unit: ClassVar[str] = "file"
    is_raw: ClassVar[bool] = True
    holds: ClassVar[tuple[type, ...]] = (str,)
