"""Load the user's function by its name: `module:function` or `path/file.py:function`.

Runs in the coordinator once, so that a mistake shows before a worker starts, and in every worker once.
"""

# Paths are plain strings here: pathlib is not loaded in a worker for this.
from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from workers.errors.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class HandlerError(Exception):
    """The function that a TARGET names is not available.

    The message is one line that says why.
    """


def load(target: str, folder: str | None = None) -> Callable[..., Any]:
    """Return the function that `target` names.

    Args:
        target: `module:function` or `path/file.py:function`; the function's part may have dots.
        folder: where modules and relative paths are looked for; the current directory by default.

    Raises:
        HandlerError: it isn't there, doesn't import, or can't be called.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise HandlerError(f"{target!r} does not name a function: use module:function or path/file.py:function")
    folder = folder or os.getcwd()  # noqa: PTH109
    is_file = where.endswith(".py") or "/" in where
    module = _load_file(os.path.join(folder, where)) if is_file else _load_module(where, folder)  # noqa: PTH118
    function = _walk(module, name, where)
    if not callable(function):
        raise HandlerError(f"{name} in {where} is of type {type(function).__name__} and can't be called")
    return function  # type: ignore[no-any-return]


def call(target: str, folder: str) -> Any:
    """Call the function that `target` names, without arguments, when a worker exits."""
    return load(target, folder)()


def _load_module(name: str, folder: str) -> ModuleType:
    """Import a module, with `folder` first on the path, as `python -m` does."""
    _put_on_path(folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise HandlerError(
                f"there is no module {error.name!r} in {folder} or on sys.path"
            ) from None
        raise HandlerError(_import_failure(name, error)) from None
    except (Exception, SystemExit) as error:
        raise HandlerError(_import_failure(name, error)) from None
    _refuse_our_own(name, folder, module)
    return module


def _load_file(path: str) -> ModuleType:
    """Import a file under its stem, with its folder first on the path, as `python path/file.py` does."""
    path = os.path.abspath(path)  # noqa: PTH100
    if not os.path.isfile(path):  # noqa: PTH113
        raise HandlerError(f"there is no file {path}")
    stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
    known = sys.modules.get(stem)
    if known is not None:
        if getattr(known, "__file__", None) == path:
            return known
        stem = f"{stem}__target"  # a file called json.py must not take the place of a loaded module
    _put_on_path(os.path.dirname(path))  # noqa: PTH120
    spec = importlib.util.spec_from_file_location(stem, path)
    if spec is None or spec.loader is None:
        raise HandlerError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(stem, None)
        raise HandlerError(_import_failure(path, error)) from None
    return module


def _put_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _refuse_our_own(name: str, folder: str, module: ModuleType) -> None:
    """Refuse our own package where the program's file of that name is meant."""
    file = os.path.join(folder, f"{name}.py")  # noqa: PTH118
    if name == __name__.partition(".")[0] and module.__file__ != file and os.path.isfile(file):  # noqa: PTH113
        raise HandlerError(f"the name {name!r} is taken by a package of orchestrator: write {name}.py:function")


def _walk(module: ModuleType, dotted: str, where: str) -> Any:
    """Follow the dots from the module to the function."""
    found: Any = module
    for name in dotted.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            hint = did_you_mean(name, [n for n in dir(found) if not n.startswith("__")])
            raise HandlerError(f"{where} has no function {name!r}{hint}") from None
    return found


def _import_failure(name: str, error: BaseException) -> str:
    """Say in one line what went wrong in the user's file, and in which line of it."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"can't import {name}: {said.split(' (')[0]} ({error.filename}:{error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_machinery(f.filename)]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"can't import {name}: {said}{place}"


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or "importlib" in filename
