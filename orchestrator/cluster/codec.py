"""How functions, items and results travel: pickled, or, to threads of this process, as they are."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from orchestrator.cluster.node.messages import Block, Outcome, carried, content
from orchestrator.engine.protocol.engine import Encoded
from orchestrator.engine.protocol.functions import function_and_names
from orchestrator.engine.protocol.in_process import Live
from orchestrator.engine.protocol.main_definitions import offered
from orchestrator.errors import OrchestratorError
from workers.functions.runner import CallSpec
from workers.pickling import by_value, memmap
from workers.pickling.main_module import Definition
from workers.transport import payload


class Function(NamedTuple):
    """A call's function, encoded."""

    data: Any
    definitions: tuple[Definition, ...]
    forwards_output: bool


class SizedBody(Protocol):
    """A `Body` that knows how large it is."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def decode(self) -> Any:
        """Return the object."""

    def discard(self) -> None:
        """Free it."""


class Received:
    """A `Body` that came as bytes."""

    __slots__ = ("_buffers", "_error", "_pickle")

    def __init__(self, body: Any, buffers: Sequence[Block], error: OrchestratorError | None) -> None:
        self._pickle = body
        self._buffers = buffers
        self._error = error

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._pickle) + sum(each.size for each in self._buffers)

    def decode(self) -> Any:
        """Return the object.

        Raises:
            OrchestratorError: it must not be used.
            Exception: it can't be unpickled here.
        """
        if self._error is not None:
            raise self._error
        return pickle.loads(self._pickle, buffers=[each.writable() for each in self._buffers])

    def discard(self) -> None:
        """Do nothing, as it is memory of this process."""


class Codec(Protocol):
    """Encodes what is sent, and knows what came back."""

    def function(self, spec: CallSpec) -> Function:
        """Encode what a call runs."""

    def message(self, message: Any) -> Encoded:
        """Encode what a chunk carries."""

    def parts(self, encoded: Any) -> tuple[Any, list[Block]]:
        """Return the body of a `Work`, and its large buffers."""

    def body(self, outcome: Outcome) -> SizedBody:
        """Return the results of a chunk."""


class Pickling:
    """For nodes: everything is bytes."""

    @staticmethod
    def function(spec: CallSpec) -> Function:
        """Pickle a function, with what it takes of `__main__`."""
        encoded, names = function_and_names(spec)
        return Function(carried(encoded.pickle), tuple(offered(names)) if names else (), spec.forward_output)

    @staticmethod
    @memmap.sends_memmaps_by_name
    def message(message: Any) -> Encoded:
        """Pickle what a chunk carries."""
        return payload.encode(message, by_value.dumps)

    @staticmethod
    def parts(encoded: payload.Encoded) -> tuple[Any, list[Block]]:
        """Return the pickle, and the buffers beside it."""
        return carried(encoded.pickle), [Block(each.raw()) for each in encoded.buffers]

    @staticmethod
    def body(outcome: Outcome) -> Received:
        """Return the results, still pickled."""
        return Received(content(outcome.body), outcome.buffers, outcome.error)


class AsTheyAre:
    """For threads of this process: nothing is pickled or copied."""

    @staticmethod
    def function(spec: CallSpec) -> Function:
        """Return the function as it is."""
        return Function(spec, (), forwards_output=False)

    @staticmethod
    def message(message: Any) -> Live:
        """Return the items as they are."""
        return Live(message)

    @staticmethod
    def parts(encoded: Live) -> tuple[Any, list[Block]]:
        """Return the items as they are."""
        return encoded.value, []

    @staticmethod
    def body(outcome: Outcome) -> Live:
        """Return the results as they are."""
        return Live(outcome.body)
