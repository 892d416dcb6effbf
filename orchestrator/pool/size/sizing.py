"""Parses numbers of workers of `-j` and `Pool(workers=...)`: a number, a file, or "auto".

    4 · 50% · +1 · -1      counted from the usable CPUs, as GNU parallel does
    auto · auto:8 · auto:2-8   between bounds, by what the machine has left (`autosize`)
    FILE                   holds one of the first four, or 0 (pause); read again during the run

What a file says is judged here without a process or a clock; the coordinator asks for a look from time to time.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.errors import ConfigError
from orchestrator.settings import parse_jobs, usable_cpus
from workers.errors.describe import describe

_LONGEST_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most workers that "auto" may choose."""

    least: int
    most: int

    def clip(self, workers: int) -> int:
        """Return the number that is nearest and within the bounds."""
        return min(max(workers, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Sizing:
    """The requested number of workers."""

    workers: int
    """To begin with; 0 only where a file says so."""
    file: SizeFile | None = None
    """Read again during the run."""
    auto: Bounds | None = None
    """The pool chooses for itself."""
    by_default: bool = False
    """Whether nobody said how many: then workers that are elsewhere are all used."""

    def at_most(self, limit: int | None) -> Sizing:
        """Return this sizing for work that occupies at most `limit` workers.

        None: unknown.
        """
        if limit is None or self.file is not None or self.auto is not None:
            return self
        return replace(self, workers=min(self.workers, max(1, limit)))

    def __str__(self) -> str:
        if self.file is not None:
            return f"{self.workers}, as {self.file.path} says"
        if self.auto is not None:
            return f"{self.auto.least} to {self.auto.most}, as the machine allows"
        return str(self.workers)


def parse_sizing(text: str | int) -> Sizing:
    """Return the meaning of a text.

    One that is not a number and not "auto" is the name of a file.

    Raises:
        ConfigError: it can't be; there is no such file, or what stands in it is not a number of workers.
    """
    words = str(text).strip()
    if re.fullmatch(r"[+-]?\d+%?", words):
        return Sizing(parse_jobs(words))
    if words == "auto" or words.startswith("auto:"):
        auto = _bounds(words)
        return Sizing(auto.clip(usable_cpus()), auto=auto)
    if not os.path.exists(words):  # noqa: PTH110 - as the user wrote it
        raise ConfigError(
            f"invalid number of workers: {describe(words)}, and no file has that name; use 4, 50%, +1, -1, auto, "
            "auto:2-8, or the name of a file that holds one of the first four"
        )
    file = SizeFile(words)
    return Sizing(file.first(), file=file)


def _bounds(text: str) -> Bounds:
    """Return the bounds of "auto" (1 to the usable CPUs), "auto:8" (1 to 8) or "auto:2-8"."""
    found = re.fullmatch(r"auto(?::(?:(\d{1,100})-)?(\d{1,100}))?", text)
    least, most = (int(found[1] or 1), int(found[2] or usable_cpus())) if found else (0, 0)
    if not 1 <= least <= most:
        raise ConfigError(f"invalid range of workers: {describe(text)}; use auto, auto:8 or auto:2-8, from 1 upwards")
    return Bounds(least, most)


def parse_wanted(text: str) -> int:
    """Return the workers that the content of a file means.

    0 pauses.

    Raises:
        ConfigError: it means none.
    """
    words = text.strip()
    if words == "0":
        return 0
    try:
        return parse_jobs(words)
    except ConfigError:
        raise ConfigError(f"invalid number of workers: {words[:40]!r}; use 4, 50%, +1, -1, or 0 to pause") from None


class SizeFile:
    """A file that sets the number of workers.

    It is read whole at every look rather than when its times change: it is as cheap, and no change is missed that comes
    within one tick of the file system's clock. An empty file says nothing the first time, as `echo 4 >FILE` empties it
    before it writes.

    Owner: the coordinator, under its lock.
    """

    def __init__(self, path: str, read: Callable[[str], str | None] | None = None) -> None:
        """Take the name.

        `read` gives the content, or None of what can only be read once.
        """
        self.path = path
        self._read = _content if read is None else read
        self._followed = True
        self._last: str | None = None
        """What was found last; a mistake is told once."""

    def first(self) -> int:
        """Return the workers to begin with.

        Raises:
            ConfigError: the file can't be read, or says nothing that can be.
        """
        try:
            text = self._read(self.path)
            if text is None:  # a pipe, as of `<(echo 4)`: it says it once
                self._followed = False
                with open(self.path) as pipe:  # noqa: PTH123
                    text = pipe.read(_LONGEST_FILE_BYTES)
            self._last = text
            return parse_wanted(text)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"-j {self.path}: can't read it: {getattr(error, 'strerror', error)}") from None
        except ConfigError as wrong:
            raise ConfigError(f"-j {self.path}: {wrong}") from None

    def poll(self) -> int | str | None:
        """Return the number in the file, what is wrong with it, or None if nothing changed."""
        if not self._followed:
            return None
        try:
            text = self._read(self.path)
        except OSError as error:
            text, wrong = f"\0{error.errno}", f"can't read it: {error.strerror}"
        except UnicodeDecodeError:
            text, wrong = "\0", "it is not a text file"
        else:
            wrong = ""
        if text is None or text == self._last:
            return None
        was, self._last = self._last, text
        if not wrong and not text.strip() and was != "\0empty":
            self._last = "\0empty"
            return None
        try:
            return wrong or parse_wanted(text)
        except ConfigError as error:
            return str(error)


def _content(path: str) -> str | None:
    """Return the first bytes of a regular file as text, None of anything else."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, _LONGEST_FILE_BYTES).decode()
    finally:
        os.close(fd)


def sizing_of(workers: int | str | Sizing | None) -> Sizing:
    """Return what `Pool(workers=...)` means."""
    if workers is None:
        return Sizing(usable_cpus(), by_default=True)
    if isinstance(workers, Sizing):
        return workers
    return parse_sizing(workers) if isinstance(workers, str) else Sizing(workers)
