"""Objects that fight whoever describes them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any


class RaisesAnything:
    def __repr__(self) -> str:
        raise SystemExit("repr")

    __str__ = __repr__


class Sleeps:
    def __repr__(self) -> str:
        time.sleep(600)
        return ""

    __str__ = __repr__


class Huge:
    def __repr__(self) -> str:
        return "x" * 2**28

    __str__ = __repr__


class NoText:
    def __repr__(self) -> Any:
        return 5

    __str__ = __repr__


class EqualToNothing:
    __hash__: Any = None

    def __eq__(self, other: object) -> bool:
        raise ValueError("eq")

    def __getattribute__(self, name: str) -> Any:
        if name in {"__class__", "__reduce_ex__", "__reduce__", "__getstate__", "__dict__"}:
            return object.__getattribute__(self, name)
        raise KeyError(name)


class Sequence(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise ValueError("iter")

    def __len__(self) -> int:
        raise ValueError("len")

    def __repr__(self) -> str:
        raise ValueError("repr")

    def __reduce__(self) -> Any:
        return Sequence, ()


class Text(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise ValueError("len")

    def __repr__(self) -> str:
        raise ValueError("repr")

    def __format__(self, how: str) -> str:
        raise ValueError("format")


@dataclass
class Data:
    inner: Any

    def __repr__(self) -> str:
        raise ValueError("repr")


class set:  # noqa: A001, N801 - `reprlib` goes by such a name
    pass


class array:  # noqa: N801
    pass


ITEMS: dict[str, Any] = {
    "long int": 10**5000,
    "raises": RaisesAnything(),
    "sleeps": Sleeps(),
    "huge": Huge(),
    "no text": NoText(),
    "equal to nothing": EqualToNothing(),
    "sequence": Sequence([1, 2]),
    "text": Text("abc"),
    "data": Data(Sleeps()),
    "named set": set(),
    "named array": array(),
    "in a tuple": (1, {"a": [Sleeps(), 10**5000]}),
    "long": ["x" * 1000] * 1000,
    "surrogate": "\ud800",
    "class": RaisesAnything,
}
"""By a name for tests."""


class BadError(Exception):
    """Raised with one of these as its text."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        return self.text() if callable(self.text) else self.text  # type: ignore[no-any-return]


def _raises() -> str:
    raise SystemExit("str")


def _huge() -> str:
    return "x" * 2**26


TEXTS: dict[str, Any] = {"raises": _raises, "huge": _huge, "no text": 5, "own text": Text("abc")}
