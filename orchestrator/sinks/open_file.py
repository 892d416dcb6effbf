"""Writes items into a file that the user has opened: sys.stdout, gzip.open(...), io.StringIO().

It is flushed at the end and stays open: who opened it closes it. Owner of the state: the engine's thread.
"""

from __future__ import annotations

import codecs
import io
import select
from contextlib import suppress
from typing import Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.items import ItemEncoder


def is_open_file(target: Any) -> bool:
    """Tell whether an object is a file (of text or bytes) rather than a sink (of lists of items)."""
    return hasattr(target, "write") and hasattr(target, "writelines")


class OpenFile:
    """Writes a line for each item to an open file."""

    def __init__(self, file: Any, output_format: str | None = None) -> None:
        """Take the file, and the format.

        None: as its name says, else "lines".

        Raises:
            ConfigError: it is closed, or not open for writing, or there is no such format.
        """
        name = getattr(file, "name", None)
        self._name = name if isinstance(name, str) else f"an open {type(file).__name__}"
        if getattr(file, "closed", False):
            raise ConfigError(f"can't write to {self._name}: it is closed")
        if not getattr(file, "writable", _always)():
            raise ConfigError(f'can\'t write to {self._name}: it was opened for reading; open it with mode "w"')
        self._file = file
        self._encoder = ItemEncoder(self._name, output_format)
        kinds = (io.TextIOBase, codecs.StreamWriter, codecs.StreamReaderWriter)
        self._is_text = isinstance(file, kinds) or hasattr(file, "encoding")
        self._is_raw = isinstance(file, io.RawIOBase)

    def write(self, items: list[Any]) -> None:
        """Append a line for each item.

        Raises:
            OrchestratorError: an item can't be written in this format, or is not text for a file of text.
            OSError: the file can't be written to.
        """
        data = self._encoder.encode(items)
        if self._is_raw:
            self._write_all(memoryview(data))
        elif not self._is_text:
            self._file.write(data)
        else:
            try:
                text = str(data, "utf-8")
            except UnicodeDecodeError as error:
                raise OrchestratorError(f"bytes can't be written to {self._name} as text: {error}") from error
            self._file.write(text)

    def _write_all(self, left: memoryview) -> None:
        """Write all of it, though a raw file may take less than it is given, or nothing."""
        while left:
            taken = self._file.write(left)
            if taken is None:
                poll = select.poll()  # select() knows no descriptors from 1,024 on
                poll.register(self._file, select.POLLOUT)
                poll.poll()
            else:
                left = left[taken:]

    def close(self) -> None:
        """Flush, and leave the file open."""
        flush = getattr(self._file, "flush", None)
        if flush is not None:
            flush()

    def abort(self) -> None:
        """Flush what was written before the run failed, if that is still possible."""
        with suppress(Exception):
            self.close()


def _always() -> bool:
    return True
