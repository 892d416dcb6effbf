"""What `Stream.group_by(key).agg(...)` makes of the items of a key.

from orchestrator.aggregates import count, sum_of

Stream(orders).group_by(customer).agg(orders=count(), total=sum_of(amount))
"""

from workers.functions.aggregates.functions import (
    Aggregate,
    collect_of,
    count,
    first_of,
    fold_of,
    last_of,
    max_of,
    mean_of,
    min_of,
    sum_of,
)

__all__ = [
    "Aggregate",
    "collect_of",
    "count",
    "first_of",
    "fold_of",
    "last_of",
    "max_of",
    "mean_of",
    "min_of",
    "sum_of",
]
