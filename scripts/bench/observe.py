"""Run a command and watch its process tree from outside: wall time, CPU by process, peak memory.

Memory is the sum of the proportional set sizes (PSS) of all processes of the tree, which counts a page that
several of them share once, /dev/shm and memfd pages that are mapped included. Sampled, so that a peak shorter
than the interval is missed; the same for every side.
"""

import subprocess
import tempfile
import time
from dataclasses import dataclass, field

import psutil

INTERVAL_S = 0.05
MEMORY_INTERVAL_S = 0.002  # the shortest run that is looked at takes a few hundredths of a second


class MeasurementError(Exception):
    """The command that was to be measured failed; the table says so and goes on."""


@dataclass
class Observation:
    """What was seen of one command."""

    seconds: float = 0.0
    root_cpu_s: float = 0.0  # the process that was started: our coordinator
    cpu_s: float = 0.0  # all processes
    peak_bytes: int = 0
    most_processes: int = 0
    cpu_by_pid: dict[int, float] = field(default_factory=dict)

    def sample(self, root, *, memory):
        """Look at the tree once."""
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        total = 0
        for process in processes:
            try:
                times = process.cpu_times()
                self.cpu_by_pid[process.pid] = times.user + times.system
                total += process.memory_full_info().pss if memory else 0
            except psutil.Error:  # it ended between the list and the look
                continue
        self.peak_bytes = max(self.peak_bytes, total)
        self.most_processes = max(self.most_processes, len(processes))


def observe(argv, *, env, memory=False, cpu=False, stdout=None):
    """Run to the end; watching costs a little, so that only what is asked for is sampled."""
    seen = Observation()
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile() as errors,  # not a pipe: nobody reads it meanwhile
        subprocess.Popen(argv, env=env, stdout=stdout, stderr=errors) as process,
    ):
        if memory or cpu:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                seen.sample(root, memory=memory)
                time.sleep(MEMORY_INTERVAL_S if memory else INTERVAL_S)
        process.wait()
        seen.seconds = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            told = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise MeasurementError(f"ended with {process.returncode}: {told[:300]}")
    seen.root_cpu_s = seen.cpu_by_pid.get(process.pid, 0.0)
    seen.cpu_s = sum(seen.cpu_by_pid.values())
    return seen
