"""The `apply` and `map` of pandas in worker processes: `fronts.pandas`, under a shorter name."""

from orchestrator.fronts.pandas import apply, close, engine, groupby_apply, map  # noqa: A004 - pandas' name

__all__ = ["apply", "close", "engine", "groupby_apply", "map"]
