"""The pool that `orchestrator.pandas` keeps: when it starts, what it survives, and when it ends."""

import os
import signal
import subprocess
import sys

import pytest

pd = pytest.importorskip("pandas")

from orchestrator import Pool, WorkerDiedError, pandas  # noqa: E402

FRAME = pd.DataFrame({"a": range(40), "b": [float(i) for i in range(40)]})


@pytest.fixture(autouse=True)
def closes():
    """Each test has a pool of its own, which must end with `close`."""
    yield
    pandas.close()


def test_the_pool_is_kept_or_given():
    """Calls share two workers until `close`; a pool that is given is used, and left open."""

    def workers(**options):
        return set(pandas.apply(FRAME, lambda row: os.getpid(), 1, **options))

    kept = workers(workers=2)
    assert len(kept | workers()) == 2
    with Pool(1) as pool:
        given = workers(pool=pool)
        assert len(given) == 1
        assert given == workers(pool=pool)
        assert not given & kept
    pandas.close()
    assert not kept & workers(workers=2)


def dies(row):
    if row.a == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return row.a


def dies_once(row, mark):
    if row.a == 7 and not os.path.exists(mark):
        with open(mark, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return row.a


def test_a_worker_that_dies_costs_one_try(tmp_path):
    """Its block runs again; a function that kills three workers raises `WorkerDiedError`."""
    assert list(pandas.apply(FRAME, dies_once, 1, (str(tmp_path / "mark"),), workers=2)) == list(FRAME.a)
    with pytest.raises(WorkerDiedError):
        pandas.apply(FRAME, dies, 1)
    assert len(pandas.apply(FRAME, len, 1)) == 40


def test_ctrl_c_ends_what_runs(tmp_path):
    """A call that is interrupted raises KeyboardInterrupt, its functions are ended, and the next call works."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)

    def waits(row):
        with open(begun, "w"):
            signal.pause()

    watch = subprocess.Popen([sys.executable, "-c", f"import os; open({str(begun)!r}).close(); os.kill({os.getpid()}, 2)"])
    with pytest.raises(KeyboardInterrupt):
        pandas.apply(FRAME, waits, 1, workers=2)
    watch.wait()
    assert len(pandas.apply(FRAME, len, 1)) == 40


def program(text, **options):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False, **options)


def test_the_name_is_there_without_importing_pandas():
    """`orchestrator.pandas`, `from orchestrator import pandas` and `import orchestrator.pandas` are one module."""
    done = program(
        "import sys, orchestrator; assert 'pandas' not in sys.modules\n"
        "from orchestrator import pandas; import orchestrator.pandas as again\n"
        "assert orchestrator.pandas is pandas is again and pandas.apply and 'pandas' in sys.modules"
    )
    assert not done.returncode, done.stderr


def test_a_program_just_ends():
    """The pool that is kept ends with the program, without a word, in a forked child too."""
    done = program(
        "import os, pandas as pd, orchestrator.pandas as op\n"
        "s = pd.Series(range(9))\n"
        "print(op.map(s, lambda x: x * 2, workers=2).sum(), flush=True)\n"
        "if not os.fork():\n"
        "    print(op.map(s, str, workers=1).str.len().sum(), flush=True)\n"
        "else:\n"
        "    os.wait()\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "72\n9\n", "")
