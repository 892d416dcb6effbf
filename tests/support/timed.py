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
