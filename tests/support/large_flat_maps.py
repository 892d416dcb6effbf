"""What the tests of large flat maps share: a run that fails again and again, and how much memory a process holds."""

import resource
from pathlib import Path

import pytest

from orchestrator import ItemError, run


def run_despite_failures(flow, pool, folder):
    """Run a flow to its end from checkpoint to checkpoint.

    `flow` is given a function for `map_inline`, which fails at the 100th, 400th, 900th and 1,500th value that it sees.
    """
    failing, seen = [100, 400, 900, 1_500], []

    def breaks(value):
        seen.append(value)
        if failing and len(seen) >= failing[0]:
            failing.pop(0)
            raise LookupError(value)
        return value

    for _ in range(4):
        with pytest.raises(ItemError, match="LookupError"):
            run(flow(breaks), pool=pool, checkpoint=folder, checkpoint_every_s=0)
    run(flow(breaks), pool=pool, checkpoint=folder, checkpoint_every_s=0)


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
