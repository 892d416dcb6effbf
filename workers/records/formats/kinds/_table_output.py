"""Writes tables: payloads in the workers, and the one file of all of them in the coordinator.

results --worker--> table, as an Arrow stream --coordinator--> row groups of the output
"""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import groupby
from typing import Any

from workers.records.formats.composing import Composer, MisfitError, Names, listed
from workers.records.formats.output import ResultError
from workers.records.formats.tables import arrow, as_arrow, is_table

_GROUP_ROWS = 2**20
_GROUP_BYTES = 64 * 2**20
"""A row group of the output is written when it has so many rows or bytes in memory."""


class TableEncoder:
    """Makes an Arrow stream of dicts and tables, whose columns are all that they have together."""

    names: Names | None = None
    takes_tables = True

    def __init__(self) -> None:
        self._schema: Any = None

    def at_once(self, values: list[Any], /) -> bytes:
        return _stream_of([_table_of(list(run), tables) for tables, run in groupby(values, is_table)])

    def one(self, value: Any, /, *, raw: bool) -> Any:  # noqa: ARG002 - there are no bytes
        """Return a table of one value that fits to those before.

        Raises:
            ResultError: it does not.
        """
        pa = arrow()
        table = _table_of([value], is_table(value))
        schemas = [table.schema] if self._schema is None else [self._schema, table.schema]
        try:
            self._schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise ResultError(f"the result does not fit to those before: {error}") from None
        return table

    def joined(self, pieces: list[Any], /) -> bytes:
        return _stream_of(pieces)


def _table_of(values: list[Any], are_tables: bool) -> Any:
    """Return dicts as a table, or tables as one.

    Raises:
        ResultError: one is neither.
    """
    pa = arrow()
    if are_tables:
        return pa.concat_tables(list(map(as_arrow, values)), promote_options="permissive")
    for value in values:
        if not isinstance(value, dict):
            raise ResultError(f"a row must be a dict or a table, not {type(value).__name__}")
    names = dict.fromkeys(name for value in values for name in value)
    try:
        return pa.table({str(name): _column([value.get(name) for value in values]) for name in names})
    except (pa.ArrowException, OverflowError) as error:
        raise ResultError(f"the result can't be a row: {' '.join(str(error).split())}") from None


def _column(values: list[Any]) -> Any:
    """Return values as a column, with decimals of any length: those of the first results are short by chance."""
    pa = arrow()
    found = pa.array(values)
    if not pa.types.is_decimal(found.type) or found.type.bit_width != 128:
        return found
    return found.cast(pa.decimal128(38, found.type.scale))


def _stream_of(tables: list[Any]) -> bytes:
    pa = arrow()
    table = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="permissive")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata())
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


class _Collected(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._data += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._data)

    def take(self) -> bytes:
        """Return what was written since."""
        data = bytes(self._data)
        self._taken += len(data)
        self._data.clear()
        return data


class TableComposer(Composer):
    """Writes the tables of all blocks in groups of a sane size, under the columns and types of the first."""

    def __init__(self, make: Callable[[Any, Any], Any], told: str) -> None:
        super().__init__()
        self._make = make
        self._told = told
        self._file = _Collected()
        self._writer: Any = None
        self._schema: Any = None
        self._held: list[Any] = []
        self._held_bytes = self._held_rows = 0

    def add(self, payload: memoryview, names: Names | None, path: str) -> tuple[bytes, memoryview | bytes]:  # noqa: ARG002 - tables know theirs
        """Take the tables of one block, and return what of the file can be written now.

        Raises:
            MisfitError: one does not fit to the first.
        """
        pa = arrow()
        source = pa.BufferReader(pa.py_buffer(bytes(payload)))
        while source.tell() < source.size():
            table = pa.ipc.open_stream(source).read_all()
            self._schema = table.schema if self._schema is None else self._schema
            table = self._fitted(table, path)
            self._held.append(table)
            self._held_rows += table.num_rows
            self._held_bytes += table.nbytes
        if self._held_rows >= _GROUP_ROWS or self._held_bytes >= _GROUP_BYTES:
            self._write()
        return b"", self._file.take()

    def finish(self) -> bytes:
        """Write what is held, and the end of the file."""
        pa = arrow()
        if self._schema is None:
            self._schema = pa.schema([(name, pa.null()) for name in self.of_input or ()])
        self._write()
        self._writer.close()
        return self._file.take()

    def _write(self) -> None:
        pa = arrow()
        if self._writer is None:
            self._writer = self._make(pa.PythonFile(self._file, mode="w"), self._schema)
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held).combine_chunks())
        self._held, self._held_bytes, self._held_rows = [], 0, 0

    def _fitted(self, table: Any, path: str) -> Any:
        """Return a table with the columns and types of the first.

        Columns that it lacks are null.
        """
        pa, schema = arrow(), self._schema
        if table.schema == schema:
            return table
        more = [name for name in table.column_names if name not in schema.names]
        if more:
            raise MisfitError(
                f"the {self._told} output has the columns {listed(schema.names)}, but results for {path} also have "
                f"{listed(more)}; return the same keys for every record"
            )
        columns = []
        for field in schema:
            try:
                column = table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows)
                columns.append(column.cast(field.type))
            except pa.ArrowException as error:
                raise MisfitError(
                    f"the column {field.name} of the {self._told} output is {field.type}, as the first results were, "
                    f"but results for {path} don't fit: {' '.join(str(error).split())}"
                ) from None
        return pa.table(columns, schema=schema)
