"""The rows of the table: what is measured, on which sides, and what the goal is."""

# ruff: noqa: RUF001 - a ratio has its sign

import filecmp
import itertools
import json
import random
import shutil
import subprocess
import sys

from barrier_rounds import BARRIER_SIDES
from call_rows import CALL_ROWS
from flows import CHAIN_SIDES, FEW, MANY
from goals import CPU_SHARE, against_best, all_of, coordinator_cpu, value_of
from observe import MeasurementError, observe
from operators import OPERATORS
from row import DATA, ENVIRONMENT, HERE, Row, as_ours, environment, in_child, peak_memory
from sides import OURS
from together import GATHER_SIDES, K_MEANS_SIDES

POOLS = (OURS, "mp.Pool", "ProcessPoolExecutor", "joblib", "loky", "mpire", "pebble")


def nap_with_memory(row, side, *, quick):
    """Measure unwatched, as looking at 500 processes takes a CPU; then once more for the memory."""
    measured = in_child(row, side, quick=quick)
    if side not in WATCHED:
        peak = in_child(row, side, quick=quick, memory=True)["peak_mb"]
        WATCHED[side] = round(peak / measured["detail"]["workers"], 2)
    measured["detail"]["MB a worker"] = WATCHED[side]
    return measured


WATCHED = {}


def starting(row, side, *, quick):  # noqa: ARG001 - all rows are called alike
    """The best of ten starts, in ms: what stands in the way of a start is other programs, which only add."""
    argv = [sys.executable, *IMPORTS[side]]
    return {
        "value": min(observe(argv, env=ENVIRONMENT, stdout=subprocess.DEVNULL).seconds for _ in range(10))
        * 1e3
    }


IMPORTS = {
    "python -c pass": ["-c", "pass"],
    "import orchestrator": ["-c", "import orchestrator"],
    "orchestrator --version": ["-m", "orchestrator", "--version"],
    "import concurrent.futures.process": ["-c", "import concurrent.futures.process"],
    "import joblib": ["-c", "import joblib"],
    "import mpire": ["-c", "import mpire"],
}


def big_file(*, quick):
    """Records as an application logs them; made once."""
    megabytes = 10 if quick else 200
    path = DATA / f"records-{megabytes}MB.jsonl"
    if path.exists():
        return path
    DATA.mkdir(exist_ok=True)
    chance = random.Random(11)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 12))) for _ in range(5000)
    ]
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w") as out:
        size = 0
        for number in itertools.count():
            record = {
                "id": number,
                "user": f"  {chance.choice(words)} {chance.choice(words)} ",
                "text": " ".join(chance.choices(words, k=chance.randint(5, 60))).upper(),
                "prices": [round(chance.uniform(1, 500), 2) for _ in range(chance.randint(1, 8))],
                "deleted": chance.random() < 0.1,
            }
            size += out.write(json.dumps(record) + "\n")
            if size >= megabytes * 10**6:
                break
    unfinished.rename(path)
    return path


def transform_file(row, side, *, quick):  # noqa: ARG001 - all rows are called alike
    source = big_file(quick=quick)
    out = DATA / f"out-{side.replace(' ', '')}.jsonl"
    if as_ours(side) == OURS:
        argv = [sys.executable, "-m", "orchestrator", "run", f"{HERE / 'functions.py'}:transform", source]
        seen = observe([*argv, "-o", out, "--format", "jsonl", "-j2", "-q"], env=environment(side), cpu=True)
    else:
        block = side.rpartition(" ")[2]
        argv = ["parallel", "--pipepart", "--block", block, "-j2", "-k", "-a", source]
        with out.open("wb") as stdout:
            filter_command = [sys.executable, HERE / "functions.py"]
            seen = observe([*argv, *filter_command], env=ENVIRONMENT, cpu=True, stdout=stdout)
    detail = {
        CPU_SHARE: seen.root_cpu_s / max(seen.cpu_s, 1e-9),
        "CPU s": round(seen.cpu_s, 2),
        "output": compare(out, DATA / "out-first.jsonl"),
    }
    return {"value": seen.seconds, "detail": detail}


def with_checkpoints(row, side, *, quick):  # noqa: ARG001 - all rows are called alike
    """The command over the file, twice over so that there are several checkpoints, with and without them."""
    source = big_file(quick=quick)
    out, kept = DATA / "out-checkpoint.jsonl", DATA / "checkpoint"
    shutil.rmtree(kept, ignore_errors=True)
    argv = [sys.executable, "-m", "orchestrator", "run", f"{HERE / 'functions.py'}:transform", *[source] * 2]
    argv += ["-o", out, "--format", "jsonl", "-j2", "-q"]
    argv += ["--checkpoint", kept] if side == CHECKPOINTS[1] else []
    seen = observe(argv, env=ENVIRONMENT, cpu=True)
    return {"value": seen.seconds, "detail": {"CPU s": round(seen.cpu_s, 2)}}


CHECKPOINTS = ("without checkpoints", "with checkpoints, every 2 s")


def compare(out, first):
    """Every side has to have written the same; the first one is the measure."""
    if not first.exists():
        shutil.copy(out, first)
        return "kept"
    if filecmp.cmp(out, first, shallow=False):
        return "same bytes"
    with out.open() as mine, first.open() as theirs:
        pairs = itertools.zip_longest(mine, theirs, fillvalue="null")
        if all(json.loads(one) == json.loads(other) for one, other in pairs):
            return "same records"
    raise MeasurementError(f"{out.name} differs from what the first side wrote")


def forget_outputs():
    for path in DATA.glob("out-*.jsonl"):
        path.unlink()


PARALLEL = ("parallel --block -1", "parallel --block 10M") if shutil.which("parallel") else ()
SMALL, LARGE = f"{OURS} 100000", f"{OURS} 10000000"


def in_operators(row, side, *, quick):
    """Run operators.py for the operator that the row's name ends with; the peers get fewer items, by their pace."""
    count = (2_000_000 if as_ours(side) == OURS else 200_000) // (10 if quick else 1)
    argv = [sys.executable, HERE / "operators.py", row.name.removeprefix("operators_"), as_ours(side), str(count)]
    done = subprocess.run(argv, env=environment(side), capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


OPERATOR_ROWS = tuple(
    Row(
        f"operators_{operator}",
        f"the operator {operator} in one process, trivial functions",
        "items/s",
        True,
        (OURS, "aiostream", "streamz"),
        in_operators,
        all_of(against_best(5, higher=True), value_of(OURS, "items/s", 1_000_000, at_least=True)),
    )
    for operator in OPERATORS
)

ROWS = (
    Row(
        "chunk1",
        "30,000 no-ops, one item a chunk",
        "items/s",
        True,
        POOLS,
        in_child,
        against_best(6, higher=True),
    ),
    Row(
        "auto",
        "1,000,000 no-ops, each library's own chunk size, taken one by one",
        "items/s",
        True,
        (OURS, "mp.Pool", "joblib", "mpire"),
        in_child,
        all_of(
            against_best(1.5, ("mp.Pool",), higher=True),
            against_best(10, ("joblib", "mpire"), higher=True),
        ),
    ),
    Row(
        "arrays_in",
        "8 MB arrays in, a number out",
        "ms/array",
        False,
        POOLS,
        in_child,
        against_best(10, higher=False),
    ),
    Row(
        "arrays_inout",
        "8 MB arrays in and out",
        "ms/array",
        False,
        POOLS,
        in_child,
        against_best(4, higher=False),
    ),
    Row(
        "skew",
        "400 CPU-bound items, every 50th a hundred times longer",
        "× ideal",
        False,
        POOLS,
        in_child,
        value_of(OURS, "× max(sum/2, longest)", 1.05),
    ),
    Row(
        "cpu_items",
        "200 CPU-bound items of 1 to 100 ms",
        "× ideal",
        False,
        POOLS,
        in_child,
        value_of(OURS, "× sum/2", 1.03),
    ),
    Row(
        "file",
        "200 MB of JSON lines through a function, from the command line",
        "s",
        False,
        (OURS, *PARALLEL),
        transform_file,
        all_of(against_best(1.0, higher=False), coordinator_cpu),
    ),
    Row(
        "checkpoint",
        "400 MB of JSON lines through the command, with and without checkpoints",
        "s",
        False,
        CHECKPOINTS,
        with_checkpoints,
        value_of(CHECKPOINTS[1], "× the time without", 1.02, per=CHECKPOINTS[0]),
    ),
    Row(
        "fused",
        "five steps as one workflow, and the same five calls in one function",
        "ns/item",
        False,
        ("one function", "five fused steps"),
        in_child,
        value_of("five fused steps", "× one function", 1.3, per="one function"),
    ),
    Row(
        "memory",
        "peak memory with a slow consumer, by number of items",
        "MB",
        False,
        (SMALL, LARGE, "mp.Pool 100000", "mp.Pool 10000000"),
        peak_memory,
        value_of(LARGE, "× the peak at 100,000 items", 1.1, per=SMALL),
    ),
    Row(
        "ready",
        "4 workers ready, from a cold start",
        "ms",
        False,
        (OURS, "ProcessPoolExecutor"),
        in_child,
        value_of(OURS, "× ProcessPoolExecutor with forkserver", 1.0, per="ProcessPoolExecutor"),
    ),
    Row(
        "grow",
        "from resize(+1) to the new worker's first chunk, median of 15",
        "ms",
        False,
        (OURS,),
        in_child,
        value_of(OURS, "ms", 100),
    ),
    Row(
        "replace",
        "from a worker's death to its replacement's first chunk, median of 15",
        "ms",
        False,
        (OURS,),
        in_child,
        value_of(OURS, "ms", 150),
    ),
    Row(
        "import",
        "start of the interpreter with ...",
        "ms",
        False,
        tuple(IMPORTS),
        starting,
        all_of(
            value_of("import orchestrator", "ms over the bare interpreter", 40, minus="python -c pass"),
            value_of("orchestrator --version", "ms over `python -c pass`", 60, minus="python -c pass"),
        ),
    ),
    Row(
        "sleepers",
        "500 workers on items that sleep 0.1 s",
        "of ideal",
        True,
        (OURS, "mp.Pool"),
        nap_with_memory,
        value_of(OURS, "of the ideal throughput", 0.9, at_least=True),
    ),
    *CALL_ROWS,
    *OPERATOR_ROWS,
    Row(
        "chain",
        "steps that are not fused, in the coordinator, an item and step",
        "ns",
        False,
        CHAIN_SIDES,
        in_child,
        value_of(CHAIN_SIDES[0], "ns an item and step", 1_000),
    ),
    Row(
        "branches",
        "peak memory of a stage and broadcast(3), one branch 100 times slower, by number of items",
        "MB",
        False,
        (FEW, MANY),
        peak_memory,
        value_of(MANY, f"× the peak at {FEW} items", 1.1, per=FEW),
    ),
    *(
        Row(
            f"barrier{parties}",
            f"a round of a barrier, {parties} processes",
            "µs",
            False,
            BARRIER_SIDES,
            in_child,
            against_best(goal, higher=False),
        )
        for parties, goal in ((2, 1), (4, 3), (16, 3))
    ),
    Row(
        "gather4",
        "all_gather of 1 MB arrays, 4 workers",
        "ms/round",
        False,
        GATHER_SIDES,
        in_child,
        against_best(3, higher=False),
    ),
    Row(
        "k_means",
        "10 passes of k-means over 2,000,000 × 8 float64, the same 8 partitions",
        "s",
        False,
        K_MEANS_SIDES,
        in_child,
        value_of("2 workers", "× one worker's time", 1 / 1.7, per="1 worker"),
    ),
    Row(
        "share",
        "1 GB shared with 4 workers that read all of it",
        "copies in memory",
        False,
        (OURS,),
        in_child,
        value_of(OURS, "copies", 1.02),
    ),
)
