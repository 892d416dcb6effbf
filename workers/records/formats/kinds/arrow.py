"""Parquet and Arrow files, whose records are rows.

A range is a row group, or a slice of one, and counts rows. The coordinator reads what files say of themselves only;
workers read the columns that are wanted. A worker keeps the group that it read last: the slices of one group cost one
reading of it in each worker.

    results --worker--> table, as an Arrow stream --coordinator--> row groups of the output
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from workers.errors.describe import describe
from workers.errors.nearest import did_you_mean
from workers.records.blocks import Block, Head
from workers.records.formats.composing import Composer, Names, listed
from workers.records.formats.format import Cuts, Format, FormatError, PlainFile, Range, column_names
from workers.records.formats.kinds._table_output import TableComposer, TableEncoder
from workers.records.formats.registry import register
from workers.records.formats.tables import (
    AS,
    MissingPackageError,
    arrow,
    as_wanted,
    dicts_of,
    package,
)
from workers.records.ranges import Handle, Raw, close, opened
from workers.records.records import PlacedRecords

if TYPE_CHECKING:
    from workers.records.blocks import ByteRange
    from workers.records.remote import RemoteFile


class Group(NamedTuple):
    """A part of a file that can be read on its own."""

    rows: int
    size_bytes: int
    """In memory, of all columns."""


class _Cached(NamedTuple):
    key: Any
    table: Any


_last: dict[str, _Cached] = {}
"""The group that this process has read last."""


@dataclass(frozen=True)
class _Rows(Format):
    """Files of rows, in groups."""

    columns: Names | None = None
    """Those that are read; None: all."""
    as_: str = "dicts"
    """What a function gets, one of `AS`."""

    writes: ClassVar[bool] = True
    is_text: ClassVar[bool] = False
    unit: ClassVar[str] = "row"
    streams: ClassVar[bool] = False
    resumes: ClassVar[bool] = False
    compresses: ClassVar[bool] = False
    least_block_bytes: ClassVar[int] = 2**20

    def __post_init__(self) -> None:
        """Check the options, and that pyarrow is there."""
        super().__post_init__()
        if self.columns is not None:
            object.__setattr__(self, "columns", column_names("columns", self.columns))
        if self.as_ not in AS:
            hint = did_you_mean(self.as_, AS)
            raise FormatError(f"as must be one of {', '.join(AS)}, not {describe(self.as_)}{hint}")
        try:
            arrow()
            if self.as_ in {"pandas", "polars"}:
                package(self.as_, "pandas" if self.as_ == "pandas" else "arrow")
        except MissingPackageError as error:
            raise FormatError(f"{self.name}: {error}") from None

    def open(self, path: str, fd: Handle) -> Any:
        """Return a reader of an open file.

        Raises:
            FormatError: it is not a file of this format.
        """
        raise NotImplementedError

    def groups(self, reader: Any) -> list[Group]:
        """Return the groups of a file."""
        raise NotImplementedError

    def names(self, reader: Any) -> list[str]:
        """Return the names of a file's columns."""
        raise NotImplementedError

    def group(self, reader: Any, number: int) -> Any:
        """Read a group, with the columns that are wanted."""
        raise NotImplementedError

    # ---- cut ------------------------------------------------------------------------------------------------------

    def cut(self, file: PlainFile, block_bytes: int, most_bytes: int) -> Cuts:  # noqa: ARG002 - rows have no limit
        """Cut between rows."""
        reader = self.open(file.path, file.fd)
        names = self.names(reader)
        missing = [name for name in self.columns or () if name not in names]
        if missing:
            raise FormatError(f"{file.path} has no column {describe(missing[0])}; it has {listed(names)}")
        groups = self.groups(reader)
        slices = list(_slices(groups, block_bytes)) or [(0, 0)]
        rows = slices[-1][1] or 1
        done = [file.size_bytes * end // rows for _, end in slices]
        done[-1] = file.size_bytes
        sizes = [after - before for before, after in pairwise([0, *done])]
        ranges = (Range(start, end, size) for (start, end), size in zip(slices, sizes, strict=True))
        return Cuts(Head(names=self.columns or tuple(names)), ranges)

    def ranges_of(self, size_bytes: int, block_bytes: int) -> int | None:  # noqa: ARG002 - whatever they are
        """Return None, as only the file tells."""
        return None

    def head_of(self, file: PlainFile) -> Head | None:
        """Return the columns."""
        return Head(names=self.columns or tuple(self.names(self.open(file.path, file.fd))))

    def size_of(self, file: PlainFile) -> int:
        """Return how many rows a file has."""
        return sum(group.rows for group in self.groups(self.open(file.path, file.fd)))

    # ---- read -----------------------------------------------------------------------------------------------------

    def read(self, chunk: ByteRange | Block) -> Raw:
        """Read the rows of a range."""
        path, last = chunk.origin.path, chunk.origin.last_of_file
        if isinstance(chunk, Block):
            raise OSError(None, f"{self.name} can't be read from the front")
        if chunk.start >= chunk.end:
            return Raw(path, b"", chunk.start, chunk.start + 1, last)
        fd = opened(path, chunk.file)
        try:
            table = self._rows(path, fd, chunk)
            if chunk.file is not None:
                chunk.file.check(path, fd)
        finally:
            close(fd)
        return Raw(path, table, chunk.start, chunk.start + 1, last)

    def _rows(self, path: str, fd: Handle, chunk: ByteRange) -> Any:
        pa, key = arrow(), (chunk.file, self)
        reader = self.open(path, fd)
        found, at = [], 0
        for number, group in enumerate(self.groups(reader)):
            start, end = max(chunk.start - at, 0), min(chunk.end - at, group.rows)
            if start < end:
                table = self._kept(path, reader, number, key)
                found.append(table.slice(start, end - start))
            at += group.rows
        return found[0] if len(found) == 1 else pa.concat_tables(found)

    def _kept(self, path: str, reader: Any, number: int, key: Any) -> Any:
        """Return a group, which may be the one that was read last."""
        cached = _last.get("group")
        if key[0] is not None and cached is not None and cached.key == (key, number):
            return cached.table
        table = _whole(path, lambda: self.group(reader, number), self.name)
        _last["group"] = _Cached((key, number), table)
        return table

    def split(self, raw: Raw, head: Head | None, *, skip: bool) -> PlacedRecords:  # noqa: ARG002 - rows are rows
        """Return the rows as dicts, or as one table."""
        if not len(raw.data):
            return PlacedRecords([])
        if self.as_ == "dicts":
            return PlacedRecords(dicts_of(raw.data))
        return PlacedRecords([as_wanted(raw.data, self.as_)], sizes=[len(raw.data)])

    def letter(self, item: Any, head: Callable[[], Head | None]) -> tuple[bytes, Head | None]:  # noqa: ARG002 - as above
        """Refuse, as letters of rows say where these stand."""
        raise FormatError(f"a dead letter of {self.name} has the place of its row, not the row: {type(item).__name__}")

    # ---- write ----------------------------------------------------------------------------------------------------

    def encoder(self) -> TableEncoder:
        """Return what makes a table of dicts and tables."""
        return TableEncoder()


@register
@dataclass(frozen=True)
class Parquet(_Rows):
    """Parquet files."""

    name: ClassVar[str] = "parquet"
    told: ClassVar[str] = "a dict per row of a Parquet file, or tables with --as"
    suffixes: ClassVar[Mapping[str, Mapping[str, Any]]] = {".parquet": {}, ".pq": {}}

    def open(self, path: str, fd: Handle) -> Any:
        """Return a reader of the file."""
        pq = arrow("pyarrow.parquet")
        return _whole(path, lambda: pq.ParquetFile(_source(fd)), self.name)

    def groups(self, reader: Any) -> list[Group]:
        """Return the row groups."""
        metadata = reader.metadata
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        return [Group(group.num_rows, group.total_byte_size) for group in groups]

    def names(self, reader: Any) -> list[str]:
        """Return the columns."""
        return list(reader.schema_arrow.names)

    def group(self, reader: Any, number: int) -> Any:
        """Read a row group in this thread, as there are workers enough."""
        return reader.read_row_group(number, columns=self.columns and list(self.columns), use_threads=False)

    def composer(self, compression: str | None) -> Composer:  # noqa: ARG002 - there is none
        """Return what writes row groups."""
        pq = arrow("pyarrow.parquet")
        return TableComposer(lambda file, schema: pq.ParquetWriter(file, schema), "Parquet")  # noqa: PLW0108 - late


@register
@dataclass(frozen=True)
class ArrowFile(_Rows):
    """Arrow's files of record batches, also known as Feather."""

    name: ClassVar[str] = "arrow"
    told: ClassVar[str] = "the same of an Arrow file"
    suffixes: ClassVar[Mapping[str, Mapping[str, Any]]] = {".arrow": {}, ".feather": {}, ".ipc": {}}

    def open(self, path: str, fd: Handle) -> Any:
        """Return a reader of the file."""
        ipc = arrow("pyarrow.ipc")
        return _whole(path, lambda: _Batches(ipc, _source(fd)), self.name)

    def groups(self, reader: Any) -> list[Group]:
        """Return the record batches."""
        return list(reader.groups())

    def names(self, reader: Any) -> list[str]:
        """Return the columns."""
        return list(reader.file.schema.names)

    def group(self, reader: Any, number: int) -> Any:
        """Read a record batch."""
        return reader.table(number, self.columns)

    def composer(self, compression: str | None) -> Composer:  # noqa: ARG002 - there is none
        """Return what writes record batches."""
        ipc = arrow("pyarrow.ipc")
        return TableComposer(lambda file, schema: ipc.new_file(file, schema), "Arrow")  # noqa: PLW0108 - late


class _Batches:
    """The record batches of an open file."""

    def __init__(self, ipc: Any, source: Any) -> None:
        self._ipc = ipc
        self._source = source
        self.file = ipc.open_file(source)

    def groups(self) -> Iterator[Group]:
        """Yield how many rows each has, from its first column alone."""
        count = self.file.num_record_batches
        first = self._of([0]) if len(self.file.schema) else self.file
        for number in range(count):
            batch = first.get_batch(number)
            yield Group(batch.num_rows, batch.nbytes * max(1, len(self.file.schema)))

    def table(self, number: int, columns: Names | None) -> Any:
        """Read one."""
        names = self.file.schema.names
        found = self.file if columns is None else self._of([names.index(name) for name in columns])
        table = arrow().Table.from_batches([found.get_batch(number)])
        return table if columns is None else table.select(list(columns))

    def _of(self, fields: list[int]) -> Any:
        return self._ipc.open_file(self._source, options=self._ipc.IpcReadOptions(included_fields=fields))


def _source(fd: Handle) -> Any:
    pa = arrow()
    return pa.OSFile(f"/proc/self/fd/{fd}") if isinstance(fd, int) else pa.PythonFile(_Ranged(fd), mode="r")


class _Ranged(io.RawIOBase):
    """A file behind a URL, as Python's files are."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = offset + (0, self._at, self._file.size_bytes)[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.pread(size if size >= 0 else self._file.size_bytes, self._at)
        self._at += len(data)
        return data


def _whole(path: str, read: Callable[[], Any], name: str) -> Any:
    """Return what is read of a file.

    Raises:
        FormatError: it is damaged.
        OSError: it can't be read.
    """
    try:
        return read()
    except (arrow().ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own has no number
            raise
        said = " ".join(str(error).split())
        raise FormatError(f"{path} is not a whole {name} file: {said}") from None


def _slices(groups: list[Group], block_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each slice, and the one behind its last."""
    starts = accumulate((group.rows for group in groups), initial=0)
    for begin, group in zip(starts, groups, strict=False):
        wanted = max(1, group.rows * block_bytes // max(1, group.size_bytes))
        parts = max(1, -(-group.rows // wanted))
        bounds = [begin + group.rows * part // parts for part in range(parts + 1)]
        yield from ((start, end) for start, end in pairwise(bounds) if start < end)
