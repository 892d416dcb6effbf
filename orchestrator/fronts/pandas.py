"""The `apply` and `map` of pandas with the function in worker processes, for pandas' own engine interface too.

pandas itself builds each result: it runs its own call, and where it would loop over rows, columns, values or groups,
it is given what the workers' functions returned for them. So index, dtypes and missing values are as without us.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd
from pandas.core.apply import frame_apply

from orchestrator.errors import InternalError, ItemError
from orchestrator.fronts.common.remote import as_raised_there
from orchestrator.fronts.common.reused_pool import ReusedPool
from orchestrator.fronts.frames.joined import join
from orchestrator.fronts.frames.results import Packed, Rows, pack
from orchestrator.fronts.frames.running import Call, RunArray, RunFrame, RunGroups, RunValues
from orchestrator.pool.pool import Pool
from orchestrator.progress import Progress
from orchestrator.settings import usable_cpus
from workers.process.context import current

try:
    from pandas.api.executors import BaseExecutionEngine
except ImportError:  # before pandas 3
    BaseExecutionEngine = object
    _BEFORE_3 = True
else:
    _BEFORE_3 = False

__all__ = ["apply", "close", "engine", "groupby_apply", "map"]

_BLOCKS_A_WORKER = 4
_BLOCKS_OF_A_BAR = 50
_FRAME_OPTIONS = ("raw", "result_type", "by_row", "engine", "engine_kwargs")
"""What `DataFrame.apply` does not hand on to the function."""
_UNITS = ("columns", "rows")
_EACH_BY_ITSELF = (np.dtype, pd.DatetimeTZDtype, pd.StringDtype)
"""The dtypes of which pandas maps each value by itself, whatever stands beside it."""
_OTHER_CALLS = "pandas called the function another number of times than in the workers"


def apply(
    df_or_series: Any,
    func: Any,
    axis: int | str = 0,
    args: tuple[Any, ...] = (),
    *,
    pool: Pool | None = None,
    workers: int | None = None,
    progress: bool = False,
    **kwargs: Any,
) -> Any:
    """Return what `df.apply(func, axis, args=args, **kwargs)`, or `series.apply`, returns.

    The function runs in the workers, the result is built here. What pandas does at once, without a loop over rows,
    columns or values (names such as "sum", lists, ufuncs, empty frames, `by_row=False`), it does here.

    Args:
        df_or_series: a frame, or a series.
        func: called with each column (axis 0) or row (axis 1) of a frame, or with each value of a series.
        axis: of a frame, as pandas takes it.
        args: further arguments of the function.
        pool: the pool to use; None: one that is kept for the next call, until `close` or the end of the program.
        workers: how many workers that has from now on; None: as many as it has, at first as many as this process may
            use CPUs.
        progress: whether to draw a bar on stderr.
        kwargs: pandas' own (`raw`, `result_type`, `by_row` ...), and what is handed on to the function.

    Raises:
        Exception: what the function raised; its cause is the worker's traceback.
        WorkerDiedError: the function killed its worker, three times.
    """
    work = _Work(pool, workers, progress)
    if isinstance(df_or_series, pd.Series):
        if _is_done_at_once(func) or kwargs.get("by_row", "compat") != "compat" or not len(df_or_series):
            return df_or_series.apply(func, args=args, **kwargs)
        kwargs.pop("by_row", None)
        return _over_values(df_or_series.apply, [df_or_series], Call(func, args, kwargs), None, work)
    if not isinstance(df_or_series, pd.DataFrame):
        msg = f"apply needs a DataFrame or a Series, not {type(df_or_series).__name__}; groupby_apply takes groups"
        raise TypeError(msg)
    options = {name: kwargs.pop(name) for name in _FRAME_OPTIONS if name in kwargs}
    if options.pop("engine", None) not in {None, "python"}:
        msg = "apply has an engine, and takes no other: use df.apply for it"
        raise ValueError(msg)
    return _FrameLoop(df_or_series, func, axis, options, (args, kwargs), work).apply()


def map(  # noqa: A001 - pandas' name
    series_or_df: Any,
    func: Any,
    na_action: str | None = None,
    *,
    pool: Pool | None = None,
    workers: int | None = None,
    progress: bool = False,
    **kwargs: Any,
) -> Any:
    """Return what `series.map(func, na_action, **kwargs)`, or `df.map`, returns.

    The function runs in the workers for each value that pandas would call it with: of a categorical series for each
    category. A dict or a series instead of a function is looked up here.

    Args:
        series_or_df: a series, or a frame.
        func: called with each value.
        na_action: "ignore" leaves missing values as they are.
        pool: as for `apply`.
        workers: as for `apply`.
        progress: as for `apply`.
        kwargs: handed on to the function.

    Raises:
        Exception: what the function raised; its cause is the worker's traceback.
        WorkerDiedError: the function killed its worker, three times.
    """
    return _map(series_or_df, func, na_action, (), kwargs, _Work(pool, workers, progress))


def groupby_apply(
    grouped: Any,
    func: Any,
    *args: Any,
    pool: Pool | None = None,
    workers: int | None = None,
    progress: bool = False,
    **kwargs: Any,
) -> Any:
    """Return what `grouped.apply(func, *args, **kwargs)` returns, for what `df.groupby` and `series.groupby` give.

    Args:
        grouped: the groups.
        func: called with the frame or series of each group, whose `name` is the key; or a name such as "sum", which
            pandas runs here.
        args: handed on to the function.
        pool: as for `apply`.
        workers: as for `apply`.
        progress: as for `apply`.
        kwargs: pandas' own (`include_groups`), and what is handed on to the function.

    Raises:
        Exception: what the function raised; its cause is the worker's traceback.
        WorkerDiedError: the function killed its worker, three times.
    """
    if not isinstance(grouped, pd.api.typing.DataFrameGroupBy | pd.api.typing.SeriesGroupBy):
        msg = f"groupby_apply needs what df.groupby(...) gives, not {type(grouped).__name__}"
        raise TypeError(msg)
    if not callable(func) or (_BEFORE_3 and func in {sum, max, min}):  # for which pandas 2 takes functions of numpy
        return grouped.apply(func, *args, **kwargs)
    options = {name: kwargs.pop(name) for name in {"include_groups"} & kwargs.keys()}
    keys: list[Any] = []
    groups: list[Any] = []

    def collect(group: Any) -> None:
        keys.append(group.name)
        groups.append(group)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas has to say it says of the second call
        grouped.apply(collect, **options)
    if not groups:
        return grouped.apply(func, *args, **options, **kwargs)
    work = _Work(pool, workers, progress)
    spans = _spans_by_weight([len(group) for group in groups], work.blocks)
    blocks = ((pack(keys[a:b]), join(groups[a:b], alike=True) or groups[a:b]) for a, b in spans)
    try:
        found = work.run(RunGroups(Call(func, args, kwargs)), blocks, spans, "groups")
    except TypeError:
        if _BEFORE_3:  # which tries again without the columns that it groups by
            return grouped.apply(func, *args, **options, **kwargs)
        raise
    return _replayed(partial(grouped.apply, **options), found)


def _map(  # noqa: PLR0917 - all that a map has
    data: Any, func: Any, na_action: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], work: _Work
) -> Any:
    if not isinstance(data, pd.Series | pd.DataFrame):
        msg = f"map needs a Series or a DataFrame, not {type(data).__name__}"
        raise TypeError(msg)
    own = partial(data.map, na_action=na_action)
    if not callable(func) or na_action not in {None, "ignore"} or data.empty:
        return own(partial(func, *args) if args else func, **kwargs)
    columns = [data] if data.ndim == 1 else [column for _, column in data.items()]
    return _over_values(own, columns, Call(func, args, kwargs), na_action, work)


_kept = ReusedPool()


def close(*, kill: bool = False) -> None:
    """End the workers of the pool that is kept between calls.

    The next call starts new ones.

    Args:
        kill: whether to end them now, and not when what they run is done.
    """
    _kept.shutdown(kill=kill)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Work:
    """Where the functions of one call run."""

    pool: Pool | None
    workers: int | None
    progress: bool

    @property
    def blocks(self) -> int:
        """How many blocks the work is cut into, so that no worker is left with a large last one."""
        workers = self.workers or (usable_cpus() if self.pool is None else self.pool.size)
        return max(workers * _BLOCKS_A_WORKER, _BLOCKS_OF_A_BAR * self.progress)

    def run(
        self, function: Callable[[Any], Packed], blocks: Iterable[Any], spans: Iterable[tuple[int, int]], unit: str
    ) -> list[Packed]:
        """Return what the function gives for the blocks, in order.

        In a worker it runs here, unless a pool is given: the other workers have their share of the work already.
        """
        if self.pool is None and _is_in_worker():
            return [function(block) for block in blocks]
        pool = _kept.use(self, self.workers) if self.pool is None else self.pool
        sizes = [stop - start for start, stop in spans]
        bar = Progress(sum(sizes), unit=unit) if self.progress else None
        found: list[Packed] = []
        try:
            with closing(pool.map(function, blocks, chunk=1)) as results:
                for size, packed in zip(sizes, results, strict=True):
                    found.append(packed)
                    if bar is not None:
                        bar.update(size)
            return found
        except ItemError as error:
            raised = as_raised_there(error)
        except (KeyboardInterrupt, SystemExit):
            if self.pool is None:
                close(kill=True)  # else what is running now would hold up the next call, and the end of the program
            raise
        finally:
            _kept.leave(self)
            if bar is not None:
                bar.close()
        raise raised

    def along(self, axis: int, call: Call, array: Any) -> list[Packed]:
        """Return what the call gives for the columns or rows of an array."""
        spans = _spans(array.shape[1 - axis], self.blocks)
        blocks = (array[a:b] if axis else array[:, a:b] for a, b in spans)
        return self.run(RunArray(call, axis, array.flags.writeable), blocks, spans, _UNITS[axis])


_ALONE = _Work(None, None, progress=False)


class _Udf(BaseExecutionEngine):  # type: ignore[misc]  # pandas has no types
    """What pandas calls of an engine."""

    def __init__(self, work: _Work) -> None:
        self._work = work

    def map(  # noqa: PLR0917 - of the protocol
        self,
        data: Any,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        decorator: Any,  # noqa: ARG002 - of the protocol
        skip_na: bool,
    ) -> Any:
        """Return the results of the function for each value."""
        na_action = "ignore" if skip_na else None
        if not isinstance(data, np.ndarray):
            return _map(data, func, na_action, args, kwargs, self._work)
        flat = pd.Series(data.ravel(), dtype=data.dtype)
        return _map(flat, func, na_action, args, kwargs, self._work).to_numpy().reshape(data.shape)

    def apply(  # noqa: PLR0917 - of the protocol
        self,
        data: Any,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        decorator: Any,  # noqa: ARG002 - of the protocol
        axis: int | str,
    ) -> Any:
        """Return the results of the function for each column or row."""
        if not isinstance(data, np.ndarray):
            return _FrameLoop(data, func, axis, {}, (args, kwargs), self._work).apply()
        number = 1 if axis in {1, "columns"} else 0
        found = self._work.along(number, Call(func, args, kwargs), data)
        return _replayed(lambda replay: np.apply_along_axis(replay, number, data), found)


class engine:  # noqa: N801 - what users name, as they name a module
    """The engine for `df.apply(f, engine=orchestrator.pandas.engine)` and `series.map(f, engine=...)`.

    As it is, it uses the pool that is kept; `engine(pool=...)` is one for another pool.

    Args:
        pool: as for `apply`.
        workers: as for `apply`.
        progress: as for `apply`.
    """

    __pandas_udf__ = _Udf(_ALONE)
    """What pandas calls."""

    def __init__(self, *, pool: Pool | None = None, workers: int | None = None, progress: bool = False) -> None:
        self.__pandas_udf__ = _Udf(_Work(pool, workers, progress))


class _FrameLoop:
    """pandas' own apply of a frame, whose loops run in the workers."""

    def __init__(  # noqa: PLR0917 - all that an apply has
        self,
        frame: pd.DataFrame,
        func: Any,
        axis: int | str,
        options: dict[str, Any],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        work: _Work,
    ) -> None:
        args, kwargs = arguments
        self._frame = frame
        self._work = work
        self._own: Any = frame_apply(frame, func, axis, **options, args=args, kwargs=kwargs)
        self._call = Call(self._own.func, self._own.args, self._own.kwargs)
        self._axis: int = self._own.axis

    def apply(self) -> Any:
        """Return the result of pandas, which decides whether there is something to loop over."""
        own = self._own
        own.apply_standard, own.apply_raw, own.apply_broadcast = self._standard, self._raw, self._broadcast
        return own.apply().__finalize__(self._frame, method="apply")

    def _standard(self) -> Any:
        own = self._own
        found = self._run(transposed=False)
        if self._axis == 1 and (rows := _one_matrix(found)) is not None:
            result = own.obj._constructor(rows.matrix, columns=rows.index, dtype=rows.matrix.dtype)  # noqa: SLF001 - as pandas
            result.index = own.result_index
            return result.infer_objects()
        return own.wrap_results(dict(enumerate(chain.from_iterable(each.unpack() for each in found))), own.result_index)

    def _raw(self, **options: Any) -> Any:
        found = self._work.along(self._axis, self._call, self._own.values)
        return self._replayed(partial(type(self._own).apply_raw, self._own, **options), found)

    def _broadcast(self, target: pd.DataFrame) -> Any:
        loop = partial(type(self._own).apply_broadcast, self._own, target)
        names = self._frame.axes[1 - self._axis]
        if target.empty or not names.is_unique:  # pandas looks up by name then, and finds several of one name
            return loop()
        return self._replayed(loop, self._run(transposed=bool(self._axis)))

    def _run(self, *, transposed: bool) -> list[Packed]:
        frame, axis = self._frame, self._axis
        spans = _spans(frame.shape[1 - axis], self._work.blocks)
        blocks = (frame.iloc[a:b] if axis else frame.iloc[:, a:b] for a, b in spans)
        return self._work.run(RunFrame(self._call, axis, transposed), blocks, spans, _UNITS[axis])

    def _replayed(self, loop: Callable[[], Any], found: list[Packed]) -> Any:
        own = self._own

        def with_results(replay: Callable[..., Any]) -> Any:
            own.func, own.args, own.kwargs = replay, (), {}
            return loop()

        return _replayed(with_results, found)


def _over_values(
    own: Callable[..., Any], columns: Sequence[Any], call: Call, na_action: str | None, work: _Work
) -> Any:
    """Return what pandas' own call returns when the workers call the function with the values of the columns."""
    if all(isinstance(column.dtype, _EACH_BY_ITSELF) for column in columns):
        rows = len(columns[0])
        spans = _spans(rows * len(columns), work.blocks)
        blocks: Iterator[Any] = ([*_pieces(columns, rows, a, b)] for a, b in spans)
    else:  # what pandas calls the function with depends on the whole: categories, masks, sparse values
        values: list[Any] = []

        def collect(value: Any) -> Any:
            values.append(value)
            return value  # which pandas can make a result of

        own(collect)
        spans = _spans(len(values), work.blocks)
        blocks = ([pack(values[a:b])] for a, b in spans)
    return _replayed(own, work.run(RunValues(call, na_action), blocks, spans, "values"))


def _pieces(columns: Sequence[Any], rows: int, start: int, stop: int) -> Iterator[Any]:
    """Return the values from `start` to `stop`, counted through the columns, in pieces of one column each."""
    while start < stop:
        column, row = divmod(start, rows)
        end = min(rows, row + stop - start)
        yield columns[column].iloc[row:end].reset_index(drop=True)
        start += end - row


def _replayed(own: Callable[[Callable[..., Any]], Any], found: Iterable[Packed]) -> Any:
    """Return what pandas' own call gives with a function that returns the results in order."""
    results = chain.from_iterable(each.unpack() for each in found)

    def replay(_: Any) -> Any:
        try:
            return next(results)
        except StopIteration:
            raise InternalError(_OTHER_CALLS) from None

    result = own(replay)
    for _ in results:
        raise InternalError(_OTHER_CALLS)
    return result


def _one_matrix(found: list[Packed]) -> Rows | None:
    """Return all results as one matrix if all are series of one dtype and index."""
    rows = [each for each in found if isinstance(each, Rows)]
    first = rows[0] if len(rows) == len(found) else None
    if first is None or not first.matrix.shape[1] or not first.index.is_unique:
        return None
    if not all(each.matrix.dtype == first.matrix.dtype and each.index.identical(first.index) for each in rows):
        return None
    return Rows(np.concatenate([each.matrix for each in rows]), first.index, [])


def _is_done_at_once(func: Any) -> bool:
    """Whether pandas calls it with a whole series, or looks it up."""
    return not callable(func) or isinstance(func, np.ufunc) or pd.api.types.is_list_like(func)


def _is_in_worker() -> bool:
    try:
        current()
    except RuntimeError:
        return False
    return True


def _spans(length: int, blocks: int) -> list[tuple[int, int]]:
    """Cut a length into blocks of about the same."""
    return list(pairwise(sorted({length * block // blocks for block in range(blocks + 1)})))


def _spans_by_weight(weights: list[int], blocks: int) -> list[tuple[int, int]]:
    """Cut a list into blocks of about the same weight."""
    ends = np.cumsum(np.asarray(weights) + 1)
    cuts = np.searchsorted(ends, [ends[-1] * block // blocks for block in range(1, blocks)])
    return list(pairwise(sorted({0, len(weights), *cuts.tolist()})))
