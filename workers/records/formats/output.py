"""Turns the function's results into the payload of a block, as the format of the output wants it.

A block is first tried in one go; only if that fails are its results taken one by one, to find the record at
fault.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from workers.records.formats.tables import as_rows, is_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FAILED = object()
"""Stands in the results at the place of a record that failed."""


class ResultError(Exception):
    """The function's result can't be written."""


class Encoder(Protocol):
    """Makes a payload of the results of one block."""

    names: tuple[str, ...] | None
    """The columns of its rows, as soon as there are some."""
    takes_tables: bool
    """Whether a value may be a table or a frame; else it gets their rows."""

    def at_once(self, values: list[Any], /) -> bytes:
        """Return the payload of all values.

        Raises:
            Exception: one of them can't be written; this encoder can't be used any more.
        """

    def one(self, value: Any, /, *, raw: bool) -> Any:
        """Return a piece of the payload.

        `raw`: bytes are written as they are, without a line end.

        Raises:
            Exception: the value can't be written.
        """

    def joined(self, pieces: list[Any], /) -> bytes:
        """Return the payload of some pieces."""


class Output:
    """What encodes results, one for each block."""

    def __init__(
        self, make: Callable[[], Encoder], *, flat: bool = False, raw: bool = False, drop_none: bool = True
    ) -> None:
        """Choose the shape.

        Args:
            make: returns an encoder of the output's format.
            flat: each result is a list of results.
            raw: bytes are written as they are, without a line end.
            drop_none: None is not a result; else it is a value, written as null.
        """
        self._make = make
        self._flat = flat
        self._raw = raw
        self._drop_none = drop_none
        self.names: tuple[str, ...] | None = None
        """The columns of the payload."""
        self.records_out = 0
        self.dropped = 0

    def encode(self, results: list[Any], on_failure: Callable[[int, BaseException], None]) -> bytes:
        """Return the block's output, and call `on_failure` with the index of each result that can't be written."""
        try:
            return self._at_once(results)
        except Exception:
            return self.one_by_one(results, on_failure)

    def _at_once(self, results: list[Any]) -> bytes:
        if self._drop_none:
            kept = [value for value in results if value is not None and value is not FAILED]
        else:
            kept = [value for value in results if value is not FAILED]
        failed = sum(value is FAILED for value in results) if len(kept) != len(results) else 0
        given = len(kept)
        if self._flat:
            given = sum(map(bool, kept))
            kept = list(chain.from_iterable(kept))
        self.records_out, self.dropped = len(kept), len(results) - failed - given
        if not kept:
            return b""
        encoder = self._make()
        kept = self._rows_in(encoder, kept)
        self.records_out = len(kept)
        payload = encoder.at_once(kept)
        self.names = encoder.names
        return payload

    def _rows_in(self, encoder: Encoder, values: Iterable[Any]) -> Any:
        """Return the values, or rows where they are tables and the format has none."""
        first = next(iter(values), None) if isinstance(values, list) else None
        return _expanded(values) if is_table(first) and not encoder.takes_tables else values

    def one_by_one(self, results: Iterable[Any], on_failure: Callable[[int, BaseException], None]) -> bytes:
        """Do what `encode` does, each result before the next is asked for."""
        encoder = self._make()
        pieces: list[Any] = []
        self.records_out = self.dropped = 0
        for index, result in enumerate(results):
            if result is FAILED:
                continue
            if (result is None and self._drop_none) or (self._flat and not result):
                self.dropped += 1
                continue
            names = encoder.names
            try:
                values = self._rows_in(encoder, result if self._flat else [result])
                found = [encoder.one(value, raw=self._raw) for value in values]
            except Exception as error:
                encoder.names = names
                on_failure(index, error)
            else:
                pieces += found
                self.records_out += len(found)
        self.names = encoder.names
        return encoder.joined(pieces) if pieces else b""


def _expanded(values: Iterable[Any]) -> list[Any]:
    """Return the rows of tables in place of these."""
    return [row for value in values for row in (as_rows(value) if is_table(value) else (value,))]


class LineEncoder:
    """An encoder of lines of text.

    The parent of those that write lines.
    """

    names: tuple[str, ...] | None = None
    takes_tables = False

    def text(self, value: Any) -> str:
        """Return the line of a value, without its line end.

        Raises:
            ResultError: it can't be written.
        """
        raise NotImplementedError

    def at_once(self, values: list[Any], /) -> bytes:
        """Return the lines of all values."""
        lines = list(map(self.text, values))
        lines.append("")  # for the last line end
        return "\n".join(lines).encode()

    def one(self, value: Any, /, *, raw: bool) -> bytes:
        """Return the line of a value.

        Bytes as they are.
        """
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value) if raw else bytes(value) + b"\n"
        return self.text(value).encode() + b"\n"

    def joined(self, pieces: list[Any], /) -> bytes:
        """Return the lines."""
        return b"".join(pieces)
