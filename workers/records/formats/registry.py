"""The formats that are known, by name and by the endings of files' names.

Those of `kinds/` are found by looking into that folder, those of other packages by the entry points of the group
`orchestrator.formats`, and only for a name or ending that is not known: looking at what is installed takes a while.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from workers.errors.describe import describe, text_of, type_name
from workers.errors.nearest import did_you_mean
from workers.records import file_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.records.formats.format import Format

_T = TypeVar("_T")
GROUP = "orchestrator.formats"
"""The group of entry points; each names a module that registers its formats, or the class of one."""
_ORDER = ("lines", "jsonl", "csv", "blocks", "files")
"""How help lists those that come first."""
_KINDS = "workers.records.formats.kinds"
_known: dict[str, type[Format]] = {}
_PLAIN = {".txt", ".log", ".json", ".out", ".text", ".dat"}
"""Endings that no format has, for which nobody looks at what is installed."""


class UnknownFormatError(Exception):
    """There is no such format, or it has no such option.

    The message says what there is.
    """


def register(kind: type[Format]) -> type[Format]:
    """Make a format known, under its name and the endings of its files."""
    _known[kind.name] = kind
    return kind


def known() -> dict[str, type[Format]]:
    """Return the formats by name, without those of other packages that nobody has asked for yet."""
    _load_own()
    order = [*(name for name in _ORDER if name in _known), *sorted(_known.keys() - set(_ORDER))]
    return {name: _known[name] for name in order}


def find(name: str, **options: Any) -> Format:
    """Return the format of a name, with these options.

    Those that are None are not given.

    Raises:
        UnknownFormatError: there is none, or it has no such option.
        FormatError: an option can't be what it is.
    """
    kind = _found(lambda: _known.get(name))
    if kind is None:
        names = list(known())
        raise UnknownFormatError(
            f"there is no format {describe(name)}{did_you_mean(name, names)}; there are {', '.join(names)}"
        )
    given = {option: value for option, value in options.items() if value is not None}
    strange = given.keys() - {each.name for each in fields(kind)}
    if strange:
        option = min(strange)
        raise UnknownFormatError(f"{option} is not an option of the format {name}{_has_it(option)}")
    return kind(**given)


def of_name(path: str, *, others: bool = True) -> Format | None:
    """Return the format that the name of a file tells, below the ending of a compression, or None.

    `others`: whether those of other packages count.
    """
    ending = file_names.ending_of(path)

    def search() -> Format | None:
        return next(
            (kind(**options) for kind in _known.values() for end, options in kind.suffixes.items() if end == ending),
            None,
        )

    if not ending or ending in _PLAIN:
        return None
    if others:
        return _found(search)
    _load_own()
    return search()


def _found(search: Callable[[], _T | None]) -> _T | None:
    _load_own()
    found = search()
    if found is None and _load_others():
        found = search()
    return found


def _has_it(option: str) -> str:
    having = [name for name, kind in known().items() if option in {each.name for each in fields(kind)}]
    return f", but of {' and '.join(having)}: give --format {' or '.join(having)} (format=)" if having else ""


@cache
def _load_own() -> None:
    for module in pkgutil.iter_modules(importlib.import_module(_KINDS).__path__):
        if not module.name.startswith("_"):  # what a format keeps apart
            importlib.import_module(f"{_KINDS}.{module.name}")


@cache
def _load_others() -> bool:
    """Load the formats of other packages, once a process."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - only for a name that is not known

    points = entry_points(group=GROUP)
    for point in points:
        try:
            found = point.load()
        except Exception as error:
            said = " ".join(text_of(error).split()) or type_name(type(error))
            raise UnknownFormatError(
                f"can't load the format {point.name} ({point.value}) of an installed package: {said}; mend that "
                "package or uninstall it"
            ) from error
        if isinstance(found, type):
            register(found)
    return bool(points)
