"""The most memory that this process has held, with the pages that it shares counted in proportion."""

from __future__ import annotations

import resource

_STATUS = "/proc/self/status"


def peak_bytes() -> int:
    """Return the peak of this process's memory, so that the sum over processes counts shared pages once.

    The kernel keeps the peak of the resident set, but not of the proportional set (PSS). The share of PSS in the
    resident set now is applied to the peak. Where `smaps_rollup` is missing, the resident peak is returned.
    """
    peak = _peak_resident()
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:  # noqa: PTH123 - pathlib is not loaded in a worker
            sizes = {words[0]: int(words[1]) for line in file if len(words := line.split()) > 1 and words[1].isdigit()}
        return peak * sizes[b"Pss:"] // sizes[b"Rss:"]
    except (OSError, KeyError, ZeroDivisionError):
        return peak


def _peak_resident() -> int:
    """Return the peak of the resident set.

    `ru_maxrss` would count that of the process that started this one, too.
    """
    try:
        with open(_STATUS, "rb") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
