"""Exits a worker gracefully: finalizer, threads, exit functions, open files.

A worker that is killed does none of it.

Runs in the worker process, in its main thread, when the coordinator has told it to stop.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import pickle
import threading
import weakref
from collections.abc import Callable
from multiprocessing import util
from typing import Any

from workers.errors.capture import add_note, capture
from workers.transport import payload


def settle_in() -> None:
    """Freeze all objects at the start of a worker, so that its garbage collections skip them.

    What the worker has from the program, or from the fork server, is not the garbage collector's work, and not looked
    at for open files at the end: that would copy every page that is shared with the parent.
    """
    gc.freeze()


def forget_the_programs_own() -> None:
    """Drop the program's exit functions, finalizers and files in a forked worker."""
    functions: Any = atexit
    functions._clear()  # noqa: SLF001 - multiprocessing does the same since Python 3.13
    atexit.register(util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001
    finalizers: Any = weakref.finalize
    for finalizer in list(finalizers._registry):  # noqa: SLF001 - of temporary folders, say
        finalizer.atexit = False
    finalizers._registered_with_atexit = False  # noqa: SLF001 - the worker's own are to run


def farewell(finalizer: Callable[[], object] | None) -> tuple[bool, bytes] | None:
    """Call the finalizer, and return whether it succeeded, with its pickled result or error.

    None: there is no finalizer.
    """
    if finalizer is None:
        return None
    try:
        result = finalizer()
        encoded = payload.encode(result)
        return True, pickle.dumps(result, pickle.HIGHEST_PROTOCOL) if encoded.buffers else encoded.pickle
    except BaseException as error:
        add_note(error, "the finalizer failed")
        return False, pickle.dumps(capture(error))


def run_exit_functions() -> None:
    """Do what an interpreter does at its exit, except tearing itself down."""
    shutdown: Any = threading
    functions: Any = atexit
    with contextlib.suppress(Exception):
        shutdown._shutdown()  # noqa: SLF001 - waits for threads that are no daemons, as multiprocessing does
    with contextlib.suppress(Exception):
        functions._run_exitfuncs()  # noqa: SLF001 - prints what they raise
    for file in _open_files():
        with contextlib.suppress(Exception):
            file.flush()


def _open_files() -> list[Any]:
    """Return the files that are open for writing, text buffers before byte buffers.

    Those that a forked worker has from the program are set apart: what they hold is the program's to write.
    """
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    found = [each for each in gc.get_objects() if type(each) in kinds]
    return sorted(found, key=lambda file: kinds.index(type(file)))
