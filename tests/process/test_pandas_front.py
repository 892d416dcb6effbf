"""`orchestrator.pandas` beside pandas itself: the same call gives the same, whatever the frame and the function."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

from orchestrator import Pool, pandas  # noqa: E402

# ---- frames and functions --------------------------------------------------------------------------------------

COLUMNS = {
    "int": lambda n, draw: pd.array(draw(ints(n)), dtype="int64").to_numpy(),
    "float": lambda n, draw: np.array(draw(lists(n, st.sampled_from([0.5, -1.0, float("nan"), float("inf")]))), dtype=float),
    "bool": lambda n, draw: np.array(draw(lists(n, st.booleans())), dtype=bool),
    "small": lambda n, draw: np.array(draw(ints(n)), dtype="int8"),
    "str": lambda n, draw: pd.array(draw(lists(n, st.sampled_from(["a", "bc", None]))), dtype="str"),
    "object": lambda n, draw: pd.Series(draw(lists(n, st.sampled_from([1, "x", None, 2.5, (1, 2)]))), dtype=object).array,
    "category": lambda n, draw: pd.Categorical(draw(lists(n, st.sampled_from(["u", "v", None]))), categories=["u", "v", "w"]),
    "tz": lambda n, draw: pd.array(pd.to_datetime(draw(ints(n)), unit="D").tz_localize("Europe/Berlin")),
    "time": lambda n, draw: pd.array(pd.to_datetime(draw(ints(n)), unit="D")),
    "delta": lambda n, draw: pd.array(pd.to_timedelta(draw(ints(n)), unit="h")),
    "masked": lambda n, draw: pd.array(draw(lists(n, st.sampled_from([1, 2, None]))), dtype="Int64"),
    "period": lambda n, draw: pd.PeriodIndex.from_ordinals(draw(ints(n)), freq="M").array,
    "sparse": lambda n, draw: pd.arrays.SparseArray(np.array(draw(ints(n)), dtype="int64"), fill_value=0),
}
INDEXES = {
    "range": pd.RangeIndex,
    "twice": lambda n: pd.Index([f"k{i % 3}" for i in range(n)], name="k"),
    "multi": lambda n: pd.MultiIndex.from_arrays([[i % 2 for i in range(n)], list(range(n))], names=["p", None]),
    "days": lambda n: pd.date_range("2024-03-30", periods=n, freq="D", tz="Europe/Berlin"),
    "float": lambda n: pd.Index([i / 2 for i in range(n)]),
}
MOST_ROWS = 11


def lists(n, values):
    return st.lists(values, min_size=n, max_size=n)


def ints(n):
    return lists(n, st.integers(0, 3))


@st.composite
def series(draw, kind=None, rows=None):
    n = draw(st.integers(0, MOST_ROWS)) if rows is None else rows
    kind = draw(st.sampled_from(sorted(COLUMNS))) if kind is None else kind
    return pd.Series(COLUMNS[kind](n, draw), index=INDEXES[draw(st.sampled_from(sorted(INDEXES)))](n), name=draw(st.sampled_from(["s", None])))


@st.composite
def frames(draw):
    n = draw(st.integers(0, MOST_ROWS))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=4))
    if draw(st.booleans()):
        kinds = kinds[:1] * len(kinds)  # of one dtype, which pandas treats in other ways
    frame = pd.DataFrame({i: COLUMNS[kind](n, draw) for i, kind in enumerate(kinds)}, index=range(n))
    frame.index = INDEXES[draw(st.sampled_from(sorted(INDEXES)))](n)
    names = draw(st.sampled_from(["abcd", "aabc", "name"]))[: len(kinds)]
    frame.columns = list(names)
    frame.attrs = draw(st.sampled_from([{}, {"unit": "m"}]))
    return frame


def first(x, default=None):
    return x.iloc[0] if len(x) else default


def raises_at_two(x):
    if first(x) == 2:
        raise LookupError(f"two in {x.name!r}")
    return 1


def by_kind(x):
    value = first(x)
    return [value] if isinstance(value, str) else value


def ragged(x):
    return pd.Series(range(len(str(first(x)))))


OF_SERIES = {
    "len": len,
    "itself": lambda x: x,
    "first": first,
    "name": lambda x: x.name,
    "text": lambda x: repr(x.tolist()),
    "dtype": lambda x: str(x.dtype),
    "none": lambda x: None,
    "nan": lambda x: float("nan"),
    "sometimes": lambda x: None if first(x) == 1 else 5,
    "big": lambda x: 2**70 if first(x) == 1 else 7,
    "bool": lambda x: bool(first(x) == 1),
    "float32": lambda x: np.float32(1.5),
    "two": lambda x: pd.Series({"x": 1.5, "y": len(x)}),
    "mixed": lambda x: pd.Series({"x": "a", "y": len(x)}, name="m"),
    "times": lambda x: pd.Series([pd.Timestamp("2024-01-01")] * 2),
    "ragged": ragged,
    "nothing": lambda x: pd.Series([], dtype=float),
    "list": lambda x: [len(x), "z"],
    "dict": lambda x: {"k": len(x)},
    "tuple": lambda x: (1, None),
    "array": lambda x: np.arange(len(x)),
    "notna": lambda x: x.notna(),
    "doubled": lambda x: x * 2,
    "frame": lambda x: pd.DataFrame({"f": [1]}),
    "by_kind": by_kind,
    "raises": raises_at_two,
    "when": lambda x: pd.Timestamp("2024-01-01", tz="UTC"),
}
OF_ARRAYS = {
    "len": len,
    "itself": lambda x: x,
    "text": lambda x: repr(x.tolist()),
    "dtype": lambda x: str(x.dtype),
    "first": lambda x: x[0],
    "twice": lambda x: [x[0], x[0]],
    "ragged": lambda x: x[: 1 + (str(x[0]) == "1")],
}
OF_VALUES = {
    "text": repr,
    "type": lambda x: type(x).__name__,
    "itself": lambda x: x,
    "none": lambda x: None,
    "pair": lambda x: (repr(x), 1),
    "isna": lambda x: bool(pd.isna([x]).all()),
    "int": lambda x: 1 if x == 1 else 2,
    "mixed": lambda x: "one" if x == 1 else 2.5,
    "series": lambda x: pd.Series([1, repr(x)]),
    "raises": lambda x: {1: "one"}[x],
    "float32": lambda x: np.float32(2),
}


@pytest.fixture(scope="module", autouse=True)
def kept():
    """The pool that is kept has two workers, and is gone behind the module."""
    pandas.map(pd.Series([1]), str, workers=2)
    yield
    pandas.close()


def outcome(call):
    try:
        return call()
    except Exception as error:
        return error


def holds_series(result):
    return any(isinstance(value, pd.Series) for value in result.to_numpy().ravel())


def same(theirs, ours):
    """Fail unless both outcomes are alike: what was returned, or what was raised."""
    assert type(theirs) is type(ours), f"{theirs!r}\n{ours!r}"
    if isinstance(theirs, Exception):
        assert str(theirs) == str(ours)
    elif isinstance(theirs, pd.Series | pd.DataFrame) and holds_series(theirs):
        same(theirs.map(repr), ours.map(repr))
    elif isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(theirs, ours, check_exact=True, check_index_type=True, check_column_type=True)
        assert theirs.attrs == ours.attrs
    elif isinstance(theirs, pd.Series):
        pd.testing.assert_series_equal(theirs, ours, check_exact=True, check_index_type=True)
        assert theirs.attrs == ours.attrs
        if theirs.dtype == object:
            assert list(map(type, theirs)) == list(map(type, ours))
    else:
        assert theirs == ours


# ---- the same as pandas ----------------------------------------------------------------------------------------


@given(
    frame=frames(),
    func=st.sampled_from(sorted(OF_SERIES)),
    axis=st.sampled_from([0, 1, "columns"]),
    result_type=st.sampled_from([None, None, "expand", "reduce", "broadcast"]),
)
def test_apply_of_a_frame_is_as_pandas(frame, func, axis, result_type):
    """Rows and columns of any dtypes give pandas' own result, or error, for functions of all kinds."""
    func = OF_SERIES[func]
    theirs = outcome(lambda: frame.apply(func, axis=axis, result_type=result_type))
    same(theirs, outcome(lambda: pandas.apply(frame, func, axis, result_type=result_type)))


@given(frame=frames(), func=st.sampled_from(sorted(OF_ARRAYS)), axis=st.sampled_from([0, 1]))
def test_raw_apply_is_as_pandas(frame, func, axis):
    """With `raw=True` the function gets arrays of the common dtype of the whole frame."""
    func = OF_ARRAYS[func]
    theirs = outcome(lambda: frame.apply(func, axis=axis, raw=True))
    same(theirs, outcome(lambda: pandas.apply(frame, func, axis, raw=True)))


@given(values=series(), func=st.sampled_from(sorted(OF_VALUES)), na_action=st.sampled_from([None, "ignore"]))
def test_apply_and_map_of_a_series_are_as_pandas(values, func, na_action):
    """The function gets the values that pandas gives it: once a category, missing ones as the dtype has them."""
    func = OF_VALUES[func]
    same(outcome(lambda: values.apply(func)), outcome(lambda: pandas.apply(values, func)))
    same(outcome(lambda: values.map(func, na_action)), outcome(lambda: pandas.map(values, func, na_action)))


@given(frame=frames(), func=st.sampled_from(sorted(OF_VALUES)), na_action=st.sampled_from([None, "ignore"]))
def test_map_of_a_frame_is_as_pandas(frame, func, na_action):
    """All values of a frame, column by column."""
    func = OF_VALUES[func]
    same(outcome(lambda: frame.map(func, na_action)), outcome(lambda: pandas.map(frame, func, na_action)))


OF_GROUPS = {
    "len": len,
    "itself": lambda g: g,
    "name": lambda g: g.name,
    "none": lambda g: None,
    "sometimes": lambda g: None if len(g) == 1 else len(g),
    "text": lambda g: repr(g.to_numpy().tolist()),
    "index": lambda g: repr(g.index),
    "columns": lambda g: repr(getattr(g, "columns", g.dtypes)),
    "head": lambda g: g.head(1),
    "reset": lambda g: g.reset_index(drop=True),
    "backwards": lambda g: g.iloc[::-1],
    "stats": lambda g: pd.Series({"n": len(g), "k": 0.5}),
    "values": lambda g: g.iloc[:, 0] if g.ndim == 2 and g.shape[1] else g,
    "dict": lambda g: {"n": len(g)},
    "scalar": lambda g: 2.5,
    "notna": lambda g: g.notna(),
    "mixed": lambda g: g if len(g) == 1 else g.head(1),
    "raises": lambda g: {1: "one"}[len(g)],
    "frame": lambda g: pd.DataFrame({"a": [len(g)] * 2, "b": ["x", None]}),
}


@given(
    frame=frames(),
    key=st.sampled_from(sorted(set(COLUMNS) - {"sparse", "object"})),
    func=st.sampled_from(sorted(OF_GROUPS)),
    options=st.fixed_dictionaries({name: st.booleans() for name in ("sort", "group_keys", "dropna", "observed", "as_index")}),
    data=st.data(),
)
def test_groupby_apply_is_as_pandas(frame, key, func, options, data):
    """Groups of frames and series, by a column or by values beside them, with each option of `groupby`."""
    func = OF_GROUPS[func]
    by = pd.Series(COLUMNS[key](len(frame), data.draw), index=frame.index, name="key")
    by = by.array if data.draw(st.booleans()) else [by.array, [i % 2 for i in range(len(frame))]]
    if data.draw(st.booleans()):
        frame = frame.assign(key=by if not isinstance(by, list) else by[0])
        by = "key"
    elif data.draw(st.booleans()) and frame.shape[1]:
        frame, options = frame.iloc[:, 0], options | {"as_index": True}
    grouped = frame.groupby(by, **options)
    same(outcome(lambda: grouped.apply(func)), outcome(lambda: pandas.groupby_apply(grouped, func)))


# ---- options ---------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame({"a": range(40), "b": [float(i) for i in range(40)]})


def add(x, y, z=0):
    return x + y + z


def test_arguments_reach_the_function():
    """`args` and keyword arguments come behind the row, column, value or group, as with pandas."""
    same(FRAME.apply(add, 1, args=(2,), z=3), pandas.apply(FRAME, add, 1, (2,), z=3))
    same(FRAME.a.apply(add, args=(2,), z=3), pandas.apply(FRAME.a, add, args=(2,), z=3))
    same(FRAME.map(lambda x, y: x + y, y=2), pandas.map(FRAME, lambda x, y: x + y, y=2))
    grouped = FRAME.groupby(FRAME.a % 3)
    same(grouped.apply(add, 2, z=3), pandas.groupby_apply(grouped, add, 2, z=3))


@pytest.mark.parametrize("func", ["sum", ["sum", "max"], {"a": "sum"}, np.sqrt, [len, lambda x: x.max()]])
def test_what_pandas_does_at_once_is_its_own(func):
    """Names, lists, dicts and ufuncs give what pandas gives."""
    same(FRAME.apply(func), pandas.apply(FRAME, func))


def test_a_mapping_is_looked_up():
    """`map` takes a dict, a series or a format method, too."""
    same(FRAME.a.map({1: "x"}), pandas.map(FRAME.a, {1: "x"}))
    same(FRAME.a.map(pd.Series(["x", "y"])), pandas.map(FRAME.a, pd.Series(["x", "y"])))
    same(FRAME.a.map("n {}".format), pandas.map(FRAME.a, "n {}".format))


@pytest.mark.parametrize(
    "call",
    [
        lambda own: own.apply(FRAME, len, axis=2) if own is pandas else FRAME.apply(len, axis=2),
        lambda own: own.apply(FRAME, len, result_type="x") if own is pandas else FRAME.apply(len, result_type="x"),
        lambda own: own.map(FRAME, len, "x") if own is pandas else FRAME.map(len, "x"),
        lambda own: own.apply(FRAME, "nothing") if own is pandas else FRAME.apply("nothing"),
    ],
)
def test_mistakes_are_told_as_pandas_tells_them(call):
    """An option or a name that does not exist raises what pandas raises."""
    same(outcome(lambda: call(None)), outcome(lambda: call(pandas)))


def test_rows_may_be_returned_themselves():
    """pandas fills one series anew for each row; those that the function returned keep their values."""
    same(FRAME.apply(lambda row: row, axis=1), pandas.apply(FRAME, lambda row: row, 1))
    same(FRAME.apply(lambda row: row if row.a % 2 else row * 2.5, axis=1), pandas.apply(FRAME, lambda row: row if row.a % 2 else row * 2.5, 1))


def test_nan_stays_that_very_object():
    """pandas keeps the categories if the function returns `numpy.nan` for a missing value, and no other NaN."""
    values = pd.Series(["u", None], dtype="category")
    for func in (lambda x: x, lambda x: x if isinstance(x, str) else float("nan")):
        same(values.map(func), pandas.map(values, func))
    grouped = pd.DataFrame({"a": [1, 2]}).groupby(values.array, dropna=False, observed=True)
    same(grouped.apply(lambda group: group.name is np.nan), pandas.groupby_apply(grouped, lambda group: group.name is np.nan))


def sets_first(x):
    x[0] = 5
    return x


@pytest.mark.parametrize("frame", [FRAME, FRAME[["b", "b"]], pd.DataFrame(np.ones((9, 2)))])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_read_only_for_pandas_is_here(frame, axis):
    """A raw function that changes what it gets fails where it fails with pandas."""
    theirs = outcome(lambda: frame.apply(sets_first, axis, raw=True))
    same(theirs, outcome(lambda: pandas.apply(frame, sets_first, axis, raw=True)))


def test_what_is_not_of_pandas_is_refused():
    """Lists, frames instead of groups, and another engine are refused by name."""
    with pytest.raises(TypeError, match="apply needs a DataFrame or a Series, not list"):
        pandas.apply([1], len)
    with pytest.raises(TypeError, match="map needs a Series or a DataFrame, not list"):
        pandas.map([1], len)
    with pytest.raises(TypeError, match=r"groupby_apply needs what df.groupby"):
        pandas.groupby_apply(FRAME, len)
    with pytest.raises(ValueError, match="takes no other"):
        pandas.apply(FRAME, len, engine="numba")


def test_it_is_an_engine_of_pandas():
    """`df.apply(engine=…)`, raw too, and `series.map(engine=…)` give what they give without."""
    if int(pd.__version__.split(".")[0]) < 3:
        pytest.skip("pandas 3 has engines")
    engine = pandas.engine
    for axis in (0, 1, "columns"):
        same(FRAME.apply(add, axis, args=(1,)), FRAME.apply(add, axis, args=(1,), engine=engine))
        same(FRAME.apply(lambda x: x[:1].sum(), axis, raw=True), FRAME.apply(lambda x: x[:1].sum(), axis, raw=True, engine=engine))
    same(FRAME.a.map(str), FRAME.a.map(str, engine=engine))
    gaps = pd.Series([1.0, None], name="g")
    same(gaps.map(add, "ignore", y=1), gaps.map(add, "ignore", engine=engine, y=1))
    assert FRAME.a.map(lambda _: os.getpid(), engine=engine).nunique() == 2
    table = np.arange(6).reshape(2, 3)
    assert (engine.__pandas_udf__.map(table, add, (1,), {}, engine, skip_na=False) == table + 1).all()
    with Pool(engine="serial") as pool:
        mine = engine(pool=pool)
        assert set(FRAME.a.map(lambda _: os.getpid(), engine=mine)) == {os.getpid()}
        assert set(FRAME.apply(lambda _: os.getpid(), 1, engine=mine)) == {os.getpid()}
        same(FRAME.apply(lambda x: x[:1].sum(), 1, raw=True), FRAME.apply(lambda x: x[:1].sum(), 1, raw=True, engine=mine))


def test_it_runs_in_the_worker_that_calls_it():
    """A function may use it itself: nothing new is started in a worker."""
    inner = pandas.apply(FRAME, lambda row: set(pandas.map(FRAME.a, lambda _: os.getpid())) == {os.getpid()}, 1)
    assert inner.all()


def test_a_serial_pool_runs_it_here():
    """For a debugger, the functions run in this process."""
    with Pool(engine="serial") as pool:
        assert set(pandas.apply(FRAME, lambda row: os.getpid(), 1, pool=pool)) == {os.getpid()}
        same(FRAME.apply(by_kind, 1), pandas.apply(FRAME, by_kind, 1, pool=pool))


def test_a_bar_counts_to_the_end(capsys):
    """Rows, columns, values and groups are counted on stderr."""
    pandas.apply(FRAME, len, 1, progress=True)
    pandas.map(FRAME, str, progress=True)
    pandas.groupby_apply(FRAME.groupby("a"), len, progress=True)
    shown = capsys.readouterr().err
    assert shown.count("40/40") == 2
    assert "80/80" in shown


# ---- what fails ------------------------------------------------------------------------------------------------


def fails_at_seven(row):
    if row.a == 7:
        raise LookupError("seven")
    return row.a


def test_an_error_is_the_functions_own():
    """It has its class and message, the worker's traceback as its cause, and the next call works."""
    with pytest.raises(LookupError, match="seven") as caught:
        pandas.apply(FRAME, fails_at_seven, 1)
    assert "in fails_at_seven" in str(caught.value.__cause__)
    assert len(pandas.apply(FRAME, len, 1)) == 40


def test_what_cannot_be_pickled_is_told():
    """A result or an argument that can't be sent raises what pickling raised."""
    with pytest.raises(TypeError, match="cannot pickle"):
        pandas.apply(FRAME, lambda row: sys._getframe(), 1)
    with pytest.raises(TypeError, match="cannot pickle"):
        pandas.apply(FRAME, add, 1, (sys._getframe(),))
    assert len(pandas.apply(FRAME, len, 1)) == 40
