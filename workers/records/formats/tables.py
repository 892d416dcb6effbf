"""Tables of pyarrow, pandas and polars: made of one another, of rows, and into rows.

None of the packages is loaded before one of its tables is wanted, or here.
"""

from __future__ import annotations

import importlib
from typing import Any

AS = ("dicts", "table", "pandas", "polars")
"""What a function may get: a dict for each row, or all rows of a range as a table."""
_PACKAGES = {"pyarrow": ("Table", "RecordBatch"), "pandas": ("DataFrame",), "polars": ("DataFrame",)}


class MissingPackageError(Exception):
    """A package is not installed.

    The message says how to install it.
    """


def package(name: str, extra: str) -> Any:
    """Return a module of a package that comes with an extra.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        top = name.partition(".")[0]
        raise MissingPackageError(f"this needs {top}: pip install 'orchestrator-pool[{extra}]'") from None


def arrow(name: str = "pyarrow") -> Any:
    """Return pyarrow, or a module of it."""
    return package(name, "arrow")


def is_table(value: Any) -> bool:
    """Tell whether a value is a table or a frame."""
    kind = type(value)
    return kind.__name__ in _PACKAGES.get(kind.__module__.partition(".")[0], ())


def as_rows(value: Any) -> list[dict[str, Any]]:
    """Return the rows of a table or a frame."""
    package_name = type(value).__module__.partition(".")[0]
    if package_name == "pandas":
        found: list[dict[str, Any]] = value.to_dict("records")
        return found
    return value.to_dicts() if package_name == "polars" else value.to_pylist()  # type: ignore[no-any-return]


def as_arrow(value: Any) -> Any:
    """Return a table or a frame as a `pyarrow.Table`."""
    pa = arrow()
    package_name = type(value).__module__.partition(".")[0]
    if package_name == "pandas":
        return pa.Table.from_pandas(value, preserve_index=False)
    if package_name == "polars":
        return value.to_arrow()
    return pa.Table.from_batches([value]) if isinstance(value, pa.RecordBatch) else value


def as_wanted(table: Any, kind: str) -> Any:
    """Return a `pyarrow.Table` as one of `AS`, but for dicts."""
    if kind == "pandas":
        package("pandas", "pandas")
        return table.to_pandas()
    return package("polars", "arrow").from_arrow(table) if kind == "polars" else table


def dicts_of(table: Any) -> list[dict[str, Any]]:
    """Return a dict for each row of a `pyarrow.Table`."""
    names = table.column_names
    if not names:
        return [{} for _ in range(table.num_rows)]
    columns = [column.to_pylist() for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
