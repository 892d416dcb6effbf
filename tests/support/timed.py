"""Functions that say when they ran and where; in a module that is quick to import, as every new worker imports it."""

import os
import signal
import time

HOARD = []


def timed(x):
    begun = time.monotonic()
    time.sleep(0.01)
    return begun, time.monotonic(), os.getpid()


def hoards(x):
    HOARD.append(bytearray(24 << 20))
    return timed(x)


def dies_now_and_then(x):
    if x % 10 == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return timed(x)


def hangs_now_and_then(x):
    begun = time.monotonic()
    if x % 10 == 9:
        time.sleep(60)
    return begun, time.monotonic(), os.getpid()


def most_at_once(results):
    """Return how many ran at the same time."""
    changes = sorted((at, step) for begun, ended, _ in results for at, step in ((begun, 1), (ended, -1)))
    most = running = 0
    for _, step in changes:
        running += step
        most = max(most, running)
    return most


def waits_at(places, gate, x):
    """Return x; at some places, not before the gate is open. Too slow for several chunks to travel in one frame."""
    time.sleep(0.0003)
    while x in places and not os.path.exists(gate):
        time.sleep(0.001)
    return x


def noted(folder, x):
    """Note that x begins."""
    fd = os.open(os.path.join(folder, str(x)), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"+")
    os.close(fd)
    return x


def noted_and_deadly(folder, deadly, x):
    """Note that x begins; then die of it, or return it."""
    noted(folder, x)
    if x in deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def runs_of(folder):
    """Return how often each has begun, of all that have."""
    return {int(name): os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}


def noted_and_slow(folder, size, x):
    """Note that x begins; then take 20 ms, and return so many bytes."""
    noted(folder, x)
    time.sleep(0.02)
    return bytes(size)
