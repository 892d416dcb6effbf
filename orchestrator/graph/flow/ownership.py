"""Finds items that others may still change, and copies those.

A source, or a step that runs inline, may pass on one buffer over and over, filled anew each time. An item is safe from
that if it can't be changed, or if nobody else refers to it nor to anything in it that can be changed. References are
counted, so each caller says how many are its own. Runs in the coordinator process; owns no state but what it has learnt
of types.
"""

from __future__ import annotations

import pickle
import sys
from copy import deepcopy
from enum import EnumMeta
from sys import getrefcount
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from workers.errors.describe import full_type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import memmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATOMS: set[type] = {int, float, complex, str, bytes, bool, type(None), type(...), range, type}
"""Types of what can't be changed; others are entered when they are first seen."""
are_atoms = ATOMS.issuperset
"""Whether an iterable has types of atoms only; it is read up to the first other one."""
_UNCHANGING = frozenset({
    "datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone",
    "decimal.Decimal", "fractions.Fraction", "ipaddress.IPv4Address", "ipaddress.IPv6Address", "uuid.UUID",
    "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib._local.PosixPath", "pathlib._local.PurePosixPath",
})  # fmt: skip
_DEPTH = 8
_MOST_MEMBERS = 1000
"""Of a list, tuple or dict that is looked through in Python; pickling it takes no longer."""


def _counts() -> tuple[int, int, int]:
    """Return what `getrefcount` says of an item that a variable holds: as an argument, of a container, and alone."""

    def of_argument(item: Any) -> int:
        return getrefcount(item)

    member: list[Any]
    for member in ([],):
        of_container = getrefcount(member)
    loose: Iterator[list[Any]] = ([] for _ in "1")
    for item in loose:
        alone = getrefcount(item)
        argument = of_argument(item)
    return argument, of_container, alone


_ARGUMENT, _IN_CONTAINER, ALONE = _counts()  # versions of Python differ


def is_safe(item: Any, others: int = 0) -> bool:
    """Whether nobody else can change an item.

    Args:
        item: held by one variable of the caller's.
        others: how many more references the caller knows of.
    """
    alone = getrefcount(item) <= _ARGUMENT + others  # on a line of its own: arguments of a call are references
    return _is_safe(item, alone, _DEPTH)


def _is_safe(value: Any, alone: bool, depth: int) -> bool:
    """Whether a value can't be changed by others.

    `alone`: nobody else refers to it.
    """
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is tuple or (kind is list and alone):
        members = value
    elif kind is dict and alone:
        members = value.values()
    elif kind is frozenset or (kind is set and alone) or _is_named_tuple(kind):
        members = value
    else:
        return _is_constant(value) or (alone and (kind is bytearray or _is_own_array(value)))
    if are_atoms(map(type, members)):
        return True
    return depth > 0 and are_safe(members, alone, depth - 1)


def are_safe(members: Any, alone: bool, depth: int = _DEPTH) -> bool:
    """Whether nobody else can change the members of a container.

    `alone`: nobody else refers to that.
    """
    if len(members) > _MOST_MEMBERS:
        return False
    for member in members:
        kind = type(member)
        if kind in ATOMS or (kind is tuple and are_atoms(map(type, member))):  # most are
            continue
        member_alone = alone and getrefcount(member) <= _IN_CONTAINER
        if member_alone and kind is list and are_atoms(map(type, member)):
            continue
        if not _is_safe(member, member_alone, depth):
            return False
    return True


def _is_named_tuple(kind: type) -> bool:
    return kind.__base__ is tuple and not kind.__dictoffset__ and hasattr(kind, "_fields")


def _is_constant(value: Any) -> bool:
    """Whether it is something else that can't be changed, or that travels by its name."""
    kind = type(value)
    if kind is FunctionType:
        return value.__closure__ is None
    if kind is BuiltinFunctionType:
        return value.__self__ is None or type(value.__self__) is ModuleType
    numpy: Any = sys.modules.get("numpy")
    is_atom = (
        full_type_name(kind) in _UNCHANGING
        or isinstance(kind, EnumMeta)
        or (numpy is not None and issubclass(kind, numpy.number | numpy.bool_ | numpy.datetime64))
    )
    if is_atom:
        ATOMS.add(kind)
    return is_atom


def _is_own_array(value: Any) -> bool:
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.base is None and not value.dtype.hasobject


def flat_copy(item: Any) -> Any:
    """Return a copy of a dict, list or bytearray that holds only what can't be changed.

    None for any other item.
    """
    kind = type(item)
    if kind is dict:
        return item.copy() if are_atoms(map(type, item.values())) else None
    if kind is list:
        return item.copy() if are_atoms(map(type, item)) else None
    return item.copy() if kind is bytearray else None


@memmap.sends_memmaps_by_name
def copied(item: Any) -> Any:
    """Return a copy of an item, or itself if it can't be copied."""
    flat = flat_copy(item)
    if flat is not None:
        return flat
    copy: Callable[[Any], Any]
    for copy in (_through_pickle, deepcopy):
        try:
            return copy(item)
        except BaseException as error:
            if is_of_a_handler(error):
                raise
    return item


def _through_pickle(item: Any) -> Any:
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and type(item) is numpy.ndarray and not item.dtype.hasobject:
        return item.copy("K")
    return pickle.loads(pickle.dumps(item, 5))
