"""Measure, side against side, and print a Markdown table. It reports; it asserts nothing.

The sides of a row take turns (A B C A B C ...), so that a machine that slows down slows all of them down, and
every measurement runs in a process of its own.
"""

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict

import report
from before import BEFORE, beside, tree_of
from goals import Goal
from observe import MeasurementError
from row import DATA, TREES
from rows import ROWS, forget_outputs
from sides import OURS


def family(row):
    """Rows of one name and several numbers may be asked for together: barrier for barrier2, barrier4 ..."""
    return row.name.rstrip("0123456789")


def options():
    names = ",".join(row.name for row in ROWS)
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    parser.add_argument("--only", metavar="ROW,...", default=names, help=f"some of: {names}")
    parser.add_argument("--sides", metavar="SIDE,...", help="only these sides, say: orchestrator,mp.Pool")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="measurements a side (default 5)")
    parser.add_argument(
        "--quick", action="store_true", help="a fraction of the work, once: does it run at all?"
    )
    parser.add_argument("--before", metavar="REVISION", help="ours against this older state of ours, and nothing else")
    chosen = parser.parse_args()
    if "operators" in chosen.only.split(","):
        chosen.only = ",".join((chosen.only, *(row.name for row in ROWS if row.name.startswith("operators_"))))
        chosen.only = ",".join(name for name in chosen.only.split(",") if name != "operators")
    known = {row.name for row in ROWS} | {family(row) for row in ROWS}
    unknown = set(chosen.only.split(",")) - known
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {names}")
    return chosen


def measure(row, sides, repeat, *, quick):
    values, extra, failures = defaultdict(list), defaultdict(lambda: defaultdict(list)), {}
    for turn in range(repeat):
        for side in sides:
            if side in failures:
                continue
            say(f"{row.name} {turn + 1}/{repeat} {side}")
            try:
                measured = row.measure(row, side, quick=quick)
            except MeasurementError as error:
                failures[side] = str(error).replace("|", "/")
                continue
            values[side].append(measured["value"])
            for name, value in measured.get("detail", {}).items():
                extra[side][name].append(value)
    return values, extra, failures


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def medians(by_name):
    """What is a number; the rest is words."""
    return {
        name: statistics.median(values)
        for name, values in by_name.items()
        if values and all(isinstance(value, int | float) for value in values)
    }


def rows_for(chosen):
    rows = [row for row in ROWS if {row.name, family(row)} & set(chosen.only.split(","))]
    if not chosen.before:
        return rows
    TREES[BEFORE] = tree_of(chosen.before, DATA)
    os.chdir(DATA)  # from the clone's own folder a worker would find the packages that lie there
    chosen.sides = f"{OURS},{BEFORE}"
    return [both for row in rows if (both := beside(row, Goal))]


def main():
    chosen = options()
    repeat = 1 if chosen.quick else chosen.repeat
    started = time.monotonic()
    finished, tables = [], []
    forget_outputs()
    for row in rows_for(chosen):
        sides = [side for side in row.sides if not chosen.sides or side in chosen.sides.split(",")]
        values, extra, failures = measure(row, sides, repeat, quick=chosen.quick)
        finished.append((row, row.goals(medians(values), medians(extra[OURS]))))
        tables.extend(report.details(row, values, extra, failures))
    say("")
    amount = ", a fraction of the work" if chosen.quick else ""
    print(f"{report.machine()}; medians of {repeat}{amount}; 2 workers")
    print(f"unless the row says otherwise; {time.monotonic() - started:.0f} s in all.\n")
    print("\n".join([*report.summary(finished), *tables]))


if __name__ == "__main__":
    main()
