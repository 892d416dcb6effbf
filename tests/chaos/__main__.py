"""The long forms of these tests, by name: `scripts/chaos storm resume --seed 7`. All of them if none is named."""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROPERTIES = "properties"
SCENARIOS = {
    "matrix": ("test_crash_matrix.py", "where a worker dies, how it dies, and how it was started: all of them"),
    "storm": ("test_storm.py", "a random worker is killed every 50 ms over 200,000 items: maps, a graph, futures, steps"),
    "troubles": ("test_troubles.py", "10,000 items that raise, die or hang, under memory pressure and resizing"),
    "resize": ("test_resizing.py", "0 to 16 workers every 20 ms while workers are killed, over 200,000 items and more"),
    "graphs": ("../property/test_random_graphs.py", "20,000 random graphs against plain Python: inline, in workers, killed and resumed"),
    "resume": ("test_resume.py", "the coordinator is killed at 200 random instants of each run, and the run resumed"),
    "files": ("test_file_faults.py", "the power goes, or the disk fails, at every system call of checkpoints"),
    "names": ("test_hostile_names.py", "5,000 hostile names in every kind of place of a shell command, in every shell"),
    PROPERTIES: ("..", "every property of the suite, with examples that are drawn anew"),
    "model": ("../unit/test_barrier_model.py", "millions of interleavings of the barrier's model: more phases"),
    "barrier": ("test_barrier_kills.py", "a party of the barrier is killed at every line of a round"),
}


def options():
    told = "\n".join(f"  {name:11} {what}" for name, (_, what) in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description=__doc__, epilog=f"scenarios:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("scenario", nargs="*", help="which; all by default")
    parser.add_argument("--seed", type=int, help="repeats the choices of a run, which prints its seed")
    parser.add_argument("--kills", type=int, default=200, help="of each run of `resume` (default: 200)")
    parser.add_argument("--runs", default="", metavar="NAME,...", help="only these graphs of `resume`")
    parser.add_argument("--items", type=int, default=200_000, help="of each run of `storm` and `resize` (default: 200000)")
    parser.add_argument("--graphs", type=int, default=20_000, help="of `graphs` (default: 20000)")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on with other seeds for so long")
    chosen = parser.parse_args()
    for name in chosen.scenario:
        if name not in SCENARIOS:
            parser.error(f"no such scenario: {name}; there are {', '.join(SCENARIOS)}")
    return chosen


def run(chosen, seed):
    """Run the scenarios once; return the exit code of pytest."""
    environment = {
        **os.environ,
        "CHAOS_SEED": str(seed),
        "CHAOS_MATRIX": "full",
        "CHAOS_ITEMS": str(chosen.items),
        "CHAOS_KILLS": str(chosen.kills),
        "CHAOS_GRAPHS": str(chosen.graphs),
        "CHAOS_POINTS": "all",
        "CHAOS_NAMES": "5000",
        "CHAOS_LINES": "3000",
    }
    if chosen.runs:
        environment["CHAOS_RUNS"] = chosen.runs.replace(",", " ")
    named = chosen.scenario or list(SCENARIOS)
    parts = [[str(HERE / SCENARIOS[name][0]) for name in named if name != PROPERTIES]]
    if chosen.runs:
        parts[0] += ["-k", "graph"]
    if PROPERTIES in named:
        parts.append([str(HERE.parent), "-m", "hypothesis", f"--hypothesis-seed={seed}"])
    # Within a scenario a single test may run for hours: what hangs is told by the scenarios' own deadlines.
    pytest = [sys.executable, "-m", "pytest", "-q", "-rP", "-n", "2", "-o", "faulthandler_timeout=0"]
    return max(subprocess.run([*pytest, *part], env=environment, check=False).returncode for part in parts if part)


def main():
    chosen = options()
    seed = chosen.seed or random.SystemRandom().randrange(1, 10**9)
    ends = time.monotonic() + chosen.minutes * 60
    while True:
        print(f"CHAOS_SEED={seed}", flush=True)
        code = run(chosen, seed)
        if code or time.monotonic() >= ends:
            return code
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
