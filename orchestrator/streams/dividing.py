"""The methods of a stream that make several of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import ConfigError
from orchestrator.graph.sinks import as_sink
from orchestrator.option_values import whole
from orchestrator.streams.described import Described, sink_behind
from orchestrator.streams.patterns import splitting
from orchestrator.streams.plan import Op
from orchestrator.streams.running import Terminal

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Node


class Dividing(Described):
    """One to many."""

    __slots__ = ()

    def tee(self, *sinks: Any, format: str | None = None) -> Self:  # noqa: A002 - as of `read`
        """Pass the items on and write them to sinks too.

        Sinks and format are those of `to`.
        """

        def make(name: str) -> Node:
            return splitting.Tee(*(sink_behind(self._port, sink, format) for sink in sinks), name=name)

        make("tee")  # refuses what can't be
        return self._node("tee", None, make)

    def broadcast(self, n: int, *, on_failure: str = "raise") -> tuple[Self, ...]:
        """Return `n` streams that each have every item.

        The slowest sets the pace.

        Args:
            n: how many.
            on_failure: "raise": a branch that fails ends all; "drop": the others continue without it. What that branch
                alone leads to is closed, its outputs are given up, and `Report.dropped` tells it; if the last branch
                fails too, the run does.
        """
        whole("broadcast: n", n, 0)
        labels = tuple(map(str, range(n)))
        return self._split(
            "broadcast", labels, lambda name: splitting.Broadcast(n, on_failure=on_failure, name=name)
        )

    def route(
        self, predicates: Mapping[str, Callable[[Any], Any]], default: str = "rest", match: str = "all"
    ) -> dict[str, Self]:
        """Split by predicates into named streams.

        Returns {name: stream}, the default's too.

        Args:
            predicates: looked at in order.
            default: where items go that match none.
            match: "all" that match, or the "first" only.
        """
        splitting.Route(predicates, default=default, match=match)  # refuses what can't be
        labels = (*predicates, default)
        made = self._split(
            "route", labels, lambda name: splitting.Route(predicates, default=default, match=match, name=name)
        )
        return dict(zip(labels, made, strict=True))

    def demultiplex(
        self,
        key: Callable[[Any], Hashable],
        *,
        keys: Sequence[Hashable] | None = None,
        to: Callable[[Any], Any] | None = None,
        unknown: str = "error",
        format: str | None = None,  # noqa: A002 - as of `read`
    ) -> Any:
        """Split by key into a stream for each of `keys`, or a sink for each key as it appears.

        Args:
            key: item to key.
            keys: the keys there are; gives {key: stream}. With unknown="default" also {None: stream} for all others.
            to: key to sink (whatever `to` takes); gives a terminal.
            unknown: what an item with another key gets: "error" or "default".
            format: of the outputs that `to` makes, as of the method `to`.
        """
        if (keys is None) == (to is None):
            raise ConfigError("demultiplex needs either keys=[...], for streams, or to=lambda key: sink, for outputs")
        if to is not None:
            end = Op(
                "demultiplex", "demultiplex", (self._port,),
                lambda name: splitting.Demultiplex(key, make=lambda found: as_sink(to(found), format), name=name), (),
            )  # fmt: skip
            return Terminal(end)
        declared = tuple(keys or ())
        others = ("others",) if unknown == "default" else ()
        made = self._split(
            "demultiplex",
            (*map(str, declared), *others),
            lambda name: splitting.Demultiplex(key, declared, unknown=unknown, name=name),
        )
        return dict(zip((*declared, *(None for _ in others)), made, strict=True))
