"""An item that is pickled before its source continues, and unpickled where it runs.

A source may yield one buffer over and over, filled anew each time. What runs again or is kept as a failure is then what
was sent, too. Made in the coordinator process; immutable.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from workers.transport import payload


class SentItem:
    """One pickled item.

    Where it is pickled again, its large buffers go out of band as those of the item would.
    """

    __slots__ = ("_buffers", "_pickle")

    def __init__(self, encoded: payload.Encoded) -> None:
        self._pickle = encoded.pickle
        self._buffers = tuple(bytearray(buffer.raw()) for buffer in encoded.buffers)

    def load(self) -> Any:
        """Return a new copy of the item each time."""
        return pickle.loads(self._pickle, buffers=[bytearray(buffer) for buffer in self._buffers])

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if not self._buffers:
            return pickle.loads, (self._pickle,)
        return _load, (self._pickle, *map(pickle.PickleBuffer, self._buffers))


class SentItems(list[Any]):
    """A chunk's items, some of which are pickled.

    Reading unpickles them, pickling doesn't.
    """

    def __getitem__(self, at: Any) -> Any:
        found = list.__getitem__(self, at)
        if type(at) is slice:
            return SentItems(found)
        return found.load() if type(found) is SentItem else found

    def __iter__(self) -> Iterator[Any]:
        return (item.load() if type(item) is SentItem else item for item in list.__iter__(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (), None, list.__iter__(self)


def _load(data: bytes, *buffers: Any) -> Any:
    return pickle.loads(data, buffers=buffers)
