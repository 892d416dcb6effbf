"""What the workers of every side run; and, started as a program, the filter that GNU parallel runs."""

import json
import os
import sys
import time
from pathlib import Path


def nothing(item):
    return item


def add(number):
    return number + 1


def triple(number):
    return number * 3


def flip(number):
    return number ^ 5


def low(number):
    return number & 0xFFFF


def less(number):
    return number - 2


STEPS = (add, triple, flip, low, less)


def all_steps(number):
    """What five steps do, as one function."""
    return less(low(flip(triple(add(number)))))


def ends_of(array):
    """One number out of 8 MB: the transport is what is measured, not the arithmetic."""
    return float(array[0]) + float(array[-1])


def plus_one(array):
    return array + 1.0


def spin(turns):
    """Burn CPU in pure Python; returns the seconds it took and the CPU seconds that it got."""
    started, started_cpu = time.perf_counter(), time.thread_time()
    total = 0
    for number in range(turns):
        total += number & 7
    return time.perf_counter() - started, time.thread_time() - started_cpu


def began(seconds):
    """Nap; returns who did, and when it began, on the clock that all processes share."""
    started = time.perf_counter()
    time.sleep(seconds)
    return os.getpid(), started


def nap(seconds):
    time.sleep(seconds)


def meet(place):
    """Return when as many processes as the folder's name ends in are here: each holds one worker."""
    folder, parties = Path(place), int(place.rpartition("-")[2])
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < parties:
        time.sleep(0.001)
    return os.getpid()


def transform(record):
    """Clean one record: normalise the words, count them, drop what is marked as deleted."""
    if record["deleted"]:
        return None
    words = record["text"].lower().split()
    return {
        "id": record["id"],
        "user": record["user"].strip().title(),
        "words": len(words),
        "longest": max(words, key=len, default=""),
        "text": " ".join(words),
        "total": round(sum(record["prices"]) * 1.19, 2),
    }


def main():
    for line in sys.stdin.buffer:
        record = transform(json.loads(line))
        if record is not None:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
