"""Dead letters: items that were given up, each kept with its error to be run again.

A file has a line for each.

    {"index": 7, "item": {"n": 7}, "item_as": "json", "error": {"type": "ValueError", "text": "…"}, "attempts": 3, …}

An item is kept as JSON if it comes back from JSON as what it was (a tuple would be a list); other plain values (tuples,
bytes, keys that are numbers …) as JSON with marks ("data", see `plain_data.py`); objects as a pickle in base64; if it
can't be pickled either, its `repr` is kept, which can't be run again. In the place of an item may stand the place of a
record in a file: its path, its bytes, its line.

To read letters runs nothing. A pickle runs code when it is opened: only `DeadLetter.item` does that, for its own item,
and only from a file of this user that nobody else can write to.

Where they are written, and how safe they are there: `letter_sinks.py`. Nothing here holds state.
"""

# ruff: noqa: PTH123
# Paths stay as the user wrote them.

from __future__ import annotations

import base64
import json
import math
import os
import pickle
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.errors import ConfigError
from orchestrator.machine.terminal import visible
from workers.errors.describe import describe, text_of, type_name
from workers.records.blocks import Place

_LINE_BEGINS = b'{"index": '
NO_ITEM: Any = type("NoItem", (), {"__repr__": lambda _: "NO_ITEM"})()
"""Stands for an item that is not kept: its place in a file is."""


class ErrorText(NamedTuple):
    """The error of an item."""

    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.type}: {self.text}" if self.text else self.type


class _Pickled(NamedTuple):
    data: bytes
    untrusted: str | None = None
    """Why it is not opened."""


class _Shown(NamedTuple):
    text: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One item that failed for good."""

    held: Any
    """The item as it is kept; ask for `item`."""
    index: int | None
    """Of the item among those of its map, from 0."""
    error: ErrorText
    traceback: str = ""
    """As it was in the worker; empty if the function raised nothing (a deadline, a death)."""
    attempts: int = 1
    function: str | None = None
    step: str | None = None
    """The step of fused functions, or of a workflow, that failed."""
    workflow: str | None = None
    worker: int | None = None
    """The id of the worker that died, or was ended."""
    pid: int | None = None
    exitcode: int | None = None
    """Of the worker; negative: the signal that killed it."""
    place: Place | None = None
    time_s: float = field(default_factory=time.time)
    """When it was given up, since 1970."""

    @property
    def item(self) -> Any:
        """The item.

        A pickled one is unpickled, which runs code.

        Raises:
            ConfigError: it could not be kept, or only its place in a file is, or it is a pickle that others may have
                written, or that can't be loaded here.
        """
        if self.held is NO_ITEM:
            raise ConfigError(f"this dead letter holds the item's place in a file, not the item: {self.place}")
        if isinstance(self.held, _Shown):
            raise ConfigError(f"item {self.index} could not be pickled, so it can't be run again: {self.held.text}")
        if not isinstance(self.held, _Pickled):
            return self.held
        if self.held.untrusted is not None:
            raise ConfigError(
                f"item {self.index} is pickled, and the file of dead letters {self.held.untrusted}: loading it could "
                "run code that others put there. If you trust its contents, make it yours alone (chown, chmod go-w)"
            )
        try:
            return pickle.loads(self.held.data)
        except Exception as error:
            what = f"the pickle of item {self.index} can't be loaded here: {type_name(type(error))}: {text_of(error)}"
            raise ConfigError(f"{what}. Can its class be imported?") from error

    @property
    def is_pickled(self) -> bool:
        """Whether reading `item` unpickles it, which runs code."""
        return isinstance(self.held, _Pickled)

    @property
    def signal(self) -> str | None:
        """The name of the signal that killed the worker."""
        if self.exitcode is None or self.exitcode >= 0:
            return None
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return str(-self.exitcode)


# ---- letters to lines and back -----------------------------------------------------------------------------------


def dumps(letter: DeadLetter) -> bytes:
    """Return the line of a letter.

    What is None or empty is left out.
    """
    place = letter.place
    fields: dict[str, Any] = {"index": letter.index, **_item_fields(letter)}
    if place is not None:
        fields |= {"path": place.path, "start": place.start, "end": place.end, "line": place.line}
    fields |= {"error": letter.error._asdict(), "attempts": letter.attempts, "function": letter.function}
    fields |= {"step": letter.step, "workflow": letter.workflow, "worker": letter.worker, "pid": letter.pid}
    fields |= {"exitcode": letter.exitcode, "signal": letter.signal, "time_s": round(letter.time_s, 3)}
    fields["traceback"] = letter.traceback or None
    told = {name: value for name, value in fields.items() if value is not None or name in {"index", "item"}}
    return json.dumps(told).encode() + b"\n"


def _item_fields(letter: DeadLetter) -> dict[str, Any]:
    held = letter.held
    if held is NO_ITEM:
        return {}
    if isinstance(held, _Shown):
        return {"item": held.text, "item_as": "repr"}
    if not isinstance(held, _Pickled):
        if is_json(held):
            return {"item": held, "item_as": "json"}
        from orchestrator.checkpoint import plain_data  # noqa: PLC0415 - only for those who keep letters

        with suppress(TypeError, ValueError, RecursionError):
            return {"item": json.loads(plain_data.dumps(held, may_pickle=False)), "item_as": "data"}
        try:
            held = _Pickled(_pickle(held))
        except Exception:
            return {"item": _shown(held), "item_as": "repr"}
    return {"item": base64.b64encode(held.data).decode(), "item_as": "pickle"}


def _pickle(item: Any) -> bytes:
    try:
        return pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
    except Exception:
        import cloudpickle  # noqa: PLC0415 - as items travel: by value what plain pickle can't

        data: bytes = cloudpickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        return data


def _shown(item: Any) -> str:
    return describe(item, 1000)


def is_json(item: Any) -> bool:
    """Tell whether an item comes back from JSON as what it is."""
    try:
        return _is_plain(item) and bool(json.loads(json.dumps(item)) == item)
    except (RecursionError, ValueError):  # it holds itself, or a number of thousands of digits
        return False


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_plain(inner) for key, inner in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return kind in {str, int, bool, type(None)} or (kind is float and math.isfinite(value))


def read_dead_letters(path: str | os.PathLike[str]) -> Iterator[DeadLetter]:
    """Yield the dead letters of a file, in order.

    Their items run again with `pool.map(fn, (letter.item for letter in read_dead_letters(path)))`; give that another
    file for its own dead letters, since these stay where they are. What is appended after the call is not given. A line
    that was cut short (the power went) is left out, with a warning. What is read is data: text, numbers, lists, bytes.
    Only an item that is an object of some class is a pickle (`letter.is_pickled`); asking for `letter.item` opens it,
    which runs code that is in it, and is refused if the file belongs to another user or others can write to it.

    Raises:
        ConfigError: the file can't be read, or is not a file of dead letters.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:  # a mistake shows now, not when the first letter is asked for
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise ConfigError(f"can't read the dead letters {path}: {error.strerror}") from None
    return _letters(path, size)


def _letters(path: str, left: int) -> Iterator[DeadLetter]:
    from orchestrator.checkpoint.trust import why_untrusted  # noqa: PLC0415 - only for those who read letters

    with open(path, "rb") as file:
        untrusted = why_untrusted(os.fstat(file.fileno()))
        for number, line in enumerate(file, 1):
            left -= len(line)
            if left < 0:  # written since, by those who run these again
                return
            try:
                fields = json.loads(line)
            except ValueError:
                if not _LINE_BEGINS.startswith(line.rstrip()[: len(_LINE_BEGINS)]):
                    raise _no_letter(path, number, line) from None
                name = visible(os.fspath(path))
                warnings.warn(f"{name}:{number}: incomplete dead letter (file cut short?), skipped", stacklevel=2)
                continue
            try:
                yield _letter(fields, untrusted)
            except (AttributeError, ImportError, KeyError, TypeError, ValueError):
                raise _no_letter(path, number, line) from None


def _no_letter(path: str, number: int, line: bytes) -> ConfigError:
    return ConfigError(f"{path}:{number} is not a dead letter: {describe(line.decode(errors='replace'))}")


def _letter(fields: dict[str, Any], untrusted: str | None) -> DeadLetter:
    place = None
    if "path" in fields:
        place = Place(fields["path"], fields.get("start"), fields.get("end"), fields.get("line"))
    names = ("traceback", "function", "step", "workflow", "worker", "pid", "exitcode")
    return DeadLetter(
        _held(fields, untrusted),
        fields.get("index"),
        ErrorText(**fields["error"]),
        attempts=fields["attempts"],
        place=place,
        time_s=fields["time_s"],
        **{name: fields[name] for name in names if name in fields},
    )


def _held(fields: dict[str, Any], untrusted: str | None) -> Any:
    if "item" not in fields:
        return NO_ITEM
    from orchestrator.checkpoint import plain_data  # noqa: PLC0415 - only for those who read letters

    kinds = {
        "json": lambda item: item,
        "data": lambda item: plain_data.loads(json.dumps(item).encode()),
        "pickle": lambda item: _Pickled(base64.b64decode(item), untrusted),
        "repr": _Shown,
    }
    return kinds[fields["item_as"]](fields["item"])
