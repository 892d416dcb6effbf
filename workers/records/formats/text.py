"""Decodes the bytes of a chunk, and cuts them into lines.

All is done with the fastest call that does it for the whole block; which line is at fault is worked out only when one
has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from workers.records.line_ends import LineEnds
from workers.records.records import Records, SplitError

if TYPE_CHECKING:
    from workers.records.ranges import Raw


def lines_of(text: str, line_end: str) -> list[str]:
    r"""Cut at the line end, and with "\n" at "\r\n", too.

    str.splitlines also cuts at \x0b, \x1c, \u2028 ….
    """
    lines = (text.replace("\r\n", "\n") if line_end == "\n" else text).split(line_end)
    if not lines[-1]:
        lines.pop()
    return lines


def decoded(
    raw: Raw, encoding: str, told: str, errors: str, line_ends: LineEnds, *, skip: bool
) -> tuple[str, list[SplitError]]:
    """Decode the whole block in one call, and look for bad lines only if that fails.

    Args:
        raw: whole records.
        encoding: of the bytes.
        told: the encoding of the file, for messages.
        errors: "strict" or "replace", for bytes that are not of the encoding.
        line_ends: of the format.
        skip: a line that can't be decoded is told, and stands as an empty one, instead of raised.

    Raises:
        SplitError: bytes that are not of the encoding.
    """
    try:
        return str(raw.data, encoding, errors), []
    except UnicodeDecodeError as error:
        first = error
    data, recoded = bytes(raw.data), encoding != told
    if not skip:
        number = line_ends.number_in(data[: first.start])
        raise _undecodable(raw, first, told, number, first.start, recoded=recoded)
    bad, offset, lines = [], 0, []
    for index, line in enumerate(line_ends.lines(data)):
        try:
            lines.append(line.decode(encoding))
        except UnicodeDecodeError as error:
            bad.append(_undecodable(raw, error, told, index, offset + error.start, recoded=recoded))
            lines.append(line_ends.end.decode())
        offset += len(line)
    return "".join(lines), bad


def _undecodable(
    raw: Raw, error: UnicodeDecodeError, told: str, line_index: int, index: int, *, recoded: bool
) -> SplitError:
    if not recoded:
        name = "UTF-8" if told == "utf-8" else told
        said = f"byte 0x{error.object[error.start]:02x} at offset {raw.start + index} is not {name} ({error.reason})"
    else:  # these bytes are not the file's
        said = f"the line has bytes that are not {told}"
    return SplitError(
        f"{said}; give the file's --encoding (encoding=), or --errors replace (errors=) to substitute such bytes",
        line_index,
        index,
        undecodable=True,
    )


def without_bad(records: Records, lines: list[str], bad: list[SplitError], *, blank_too: bool) -> Records:
    """Leave out the lines that could not be decoded, and blank ones if these are no records either."""
    gone = {error.line_index for error in bad}
    kept = [i for i, line in enumerate(lines) if i not in gone and not (blank_too and not line.strip())]
    return Records(
        [lines[i] for i in kept], records.parse, kept.__getitem__, bad, line_end=records.line_end
    )


def without_long(raw: Raw, line_ends: LineEnds, split: Callable[[Raw], Records], *, skip: bool) -> Records:
    """Leave out the records that are too long, inside the data and behind it.

    Raises:
        SplitError: there is one, without `skip`.
    """
    limit, data = raw.max_record_bytes, bytes(raw.data)
    records = split(replace(raw, max_record_bytes=0, too_long=False))
    spans = records.spans(data)
    long = [index for index, span in enumerate(spans) if span.end - span.start > limit]
    bad = [_too_long(limit, spans[index].line, spans[index].start) for index in long]
    if raw.too_long:
        bad.append(_too_long(limit, line_ends.number_in(data), len(data)))
    if bad and not skip:
        raise bad[0]
    gone = set(long)
    kept = [index for index in range(len(spans)) if index not in gone] if long else range(len(spans))
    return Records(
        [records.values[index] for index in kept],
        records.parse,
        lambda index: spans[kept[index]].line,
        sorted((*records.bad, *bad), key=lambda error: error.line_index),
        lambda _: [spans[index] for index in kept],
    )


def _too_long(limit: int, line_index: int, byte_index: int) -> SplitError:
    said = f"the record is larger than {limit:,} bytes; raise the limit with --max-record (max_record=)"
    return SplitError(said, line_index, byte_index)
