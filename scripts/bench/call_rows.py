"""The rows of calls: what a submitted call, a small map, an await, and joblib's batches cost."""

from calls import AWAITS, BACKENDS, CALLERS
from goals import against_best
from row import Row, in_child, peak_memory
from sides import OURS

_NINE_TENTHS = against_best(1 / 0.9, higher=False)
_HALF = against_best(2, higher=False)
_NO_SLOWER = against_best(1, higher=False)


def _row(name, title, unit, sides, goals, *, measure=in_child):
    return Row(name, title, unit, False, sides, measure, goals)


CALL_ROWS = (
    _row("call", "from submit to the result, one call after another", "µs", CALLERS, _HALF),
    _row("calls", "5,000 submits, then their results", "µs/call", CALLERS, _HALF),
    _row("map10", "a map of 10 items on a warm pool", "µs", (*CALLERS, "joblib"), _HALF),
    _row("awaits", "100 awaits at once; others by run_in_executor", "ms", (OURS, *AWAITS), _HALF),
    _row("joblib_ms", "joblib.Parallel of 1,000 calls of 1 ms, warm", "ms", BACKENDS, _NINE_TENTHS),
    _row("joblib_noops", "joblib.Parallel of 100,000 no-ops, warm", "ms", BACKENDS, _HALF),
    _row("cross_val", "sklearn's cross_val_score, n_jobs=2, warm", "ms", BACKENDS, _NO_SLOWER),
    _row("forest", "sklearn's RandomForest.fit, n_jobs=2, warm", "ms", BACKENDS, _NO_SLOWER),
    _row("forest_memory", "peak memory of that fit", "MB", BACKENDS, _NO_SLOWER, measure=peak_memory),
)
