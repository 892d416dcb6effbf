"""Finds the format that a name, an option or a file's ending means, for all who read or write files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from workers.errors.describe import describe
from workers.records.file_names import compression_of
from workers.records.formats import registry

if TYPE_CHECKING:
    from workers.records.formats.format import Format


def format_to_read(name: str | None, paths: Iterable[str], **options: Any) -> Format:
    """Return the format that files are read in.

    Args:
        name: of the format; None: that of the files' names, if these are of one of our own that is not text, else
            "lines".
        paths: the files.
        options: of the format; those that are None are not given.

    Raises:
        ConfigError: there is no such format, or it has no such option.
    """
    if name is None:
        named = [_named(path, others=False) for path in paths]
        found = {form.name for form in named if form is not None and not form.is_text and form.reads}
        if len(found) > 1:
            raise ConfigError(f"the inputs are of several formats, {' and '.join(sorted(found))}; give one of them")
        name = found.pop() if found else "lines"
    form = _find(name, options)
    if not form.reads:
        raise ConfigError(f"{name} is a format to write, not to read")
    return form


def format_to_write(name: str | None, path: str) -> Format:
    """Return the format that an output is written in.

    Args:
        name: of the format; None: as the name of the output says, else "lines".
        path: of the output.

    Raises:
        ConfigError: there is no such format, or it can't be written.
    """
    named = _named(path)
    if name is None:
        form = named if named is not None and named.writes else _find("lines", {})
    else:
        form = named if named is not None and named.name == name else _find(name, {})
    if not form.compresses and compression_of(path):
        raise ConfigError(f"can't write {path}: {form.name} compresses inside; leave out {path[path.rfind('.') :]}")
    if not form.writes:
        raise ConfigError(f"{name} is a format to read, not to write; there are {', '.join(writable())}")
    return form


def refuse_unresumable(form: Format, path: str) -> None:
    """Refuse a checkpoint of an output that can't be continued.

    Raises:
        ConfigError: it can't.
    """
    if not form.resumes:
        raise ConfigError(
            f"{path} can't be resumed, as {form.name} is written as a whole; run without a checkpoint, or "
            "write JSON lines"
        )


def readable() -> dict[str, type[Format]]:
    """Return the formats that files can be read in, by name."""
    return {name: form for name, form in registry.known().items() if form.reads}


def writable() -> dict[str, type[Format]]:
    """Return the formats that outputs can be written in, by name."""
    return {name: form for name, form in registry.known().items() if form.writes}


def _named(path: str, *, others: bool = True) -> Format | None:
    from workers.records.formats.format import FormatError  # noqa: PLC0415 - only for those who read or write files

    try:
        return registry.of_name(path, others=others)
    except (registry.UnknownFormatError, FormatError) as mistake:
        raise ConfigError(str(mistake)) from None


def _find(name: str, options: dict[str, Any]) -> Format:
    from workers.records.formats.format import FormatError  # noqa: PLC0415 - only for those who read or write files

    if not isinstance(name, str):
        raise ConfigError(f"format must be a text, not {describe(name)}")
    try:
        return registry.find(name, **options)
    except (registry.UnknownFormatError, FormatError) as mistake:
        raise ConfigError(str(mistake)) from None
