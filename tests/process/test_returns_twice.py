"""A function that forks, and returns in the child, too: its item fails, all others and the pool are none the worse."""

import os
from pathlib import Path

import pytest
from support.scripts import run, run_script

from orchestrator import Failure, ItemError, OrchestratorError, Pool, Stream
from orchestrator import run as orchestrate

CAUSE = r"forked in worker \d.*the child returned from it too.*os\._exit"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Noted:
    """Calls to be counted: each leaves the pid and the item."""

    def __init__(self, folder, at=(3,)):
        self.folder, self.at = Path(folder), at

    def note(self, x):
        with open(self.folder / "calls", "a") as file:
            file.write(f"{os.getpid()} {x}\n")

    def __call__(self, x):
        self.note(x)
        if x in self.at and (child := os.fork()):
            os.waitpid(child, 0)
        return x

    def calls_by_children(self, workers):
        pids = {str(worker.pid) for worker in workers}
        return [line for line in (self.folder / "calls").read_text().splitlines() if line.split()[0] not in pids]


@pytest.mark.parametrize("chunk", [1, 4, 20])
def test_only_its_item_fails_whatever_the_chunk(pool, tmp_path, chunk):
    function = Noted(tmp_path, at=(3, 4, 11))
    results = list(pool.map(function, range(20), chunk=chunk, on_error="return"))
    failed = [result.index for result in results if isinstance(result, Failure)]
    assert failed == [3, 4, 11]
    assert [x for x in results if not isinstance(x, Failure)] == [x for x in range(20) if x not in failed]
    assert all(issubclass(type(results[x].error), ItemError) for x in failed)
    with pytest.raises(ItemError, match=CAUSE):
        raise results[3].error
    assert not function.calls_by_children(pool.workers)
    assert list(pool.map(abs, range(10))) == list(range(10))
    assert pool.status().deaths == 0


def test_a_child_that_raises_is_no_result_either(pool):
    def raises_in_the_child(x):
        if x == 3:
            if not (child := os.fork()):
                raise ValueError(x)
            os.waitpid(child, 0)
        return x

    with pytest.raises(ItemError, match=CAUSE):
        list(pool.map(raises_in_the_child, range(6), chunk=1))
    assert list(pool.map(abs, range(10))) == list(range(10))


def test_submitted_calls(pool, tmp_path):
    futures = [pool.submit(Noted(tmp_path), x) for x in range(6)]
    assert [future.result() for future in futures if future is not futures[3]] == [0, 1, 2, 4, 5]
    with pytest.raises(OrchestratorError, match=CAUSE):
        futures[3].result()


def test_all_workers_at_once(pool, tmp_path):
    with pytest.raises(ItemError, match=CAUSE):
        pool.run_on_all(Noted(tmp_path), 3)
    assert pool.run_on_all(abs, -1) == [1] * len(pool.workers)


def test_steps_of_a_stream_and_none_behind_it_runs_in_the_child(pool, tmp_path):
    function, behind = Noted(tmp_path), Noted(tmp_path, at=())
    found = []
    stream = Stream(range(12)).map(function, on_error="skip").filter(lambda x: True).flat_map(lambda x: [x, x]).map(behind)
    report = orchestrate(stream.to(found), pool=pool)
    assert found == [x for x in range(12) if x != 3 for _ in range(2)]
    assert report.failed == 1
    assert not function.calls_by_children(pool.workers)


def test_a_child_that_is_late_says_so_and_changes_nothing(tmp_path):
    """Its parent does not wait for it: the result stands, and the child is stopped when it comes back."""
    text = """
    import os
    from orchestrator import Pool
    gate_r, gate_w = os.pipe()
    def late(x):
        if x == 3 and not os.fork():
            os.close(gate_w)
            os.read(gate_r, 1)  # until all others have closed it
        return x
    pool = Pool(2, start_method="fork")
    print(list(pool.map(late, range(6), chunk=1)), flush=True)
    os.close(gate_w)
    pool.close()
    """
    done = run_script(tmp_path, text)
    assert done.stdout == "[0, 1, 2, 3, 4, 5]\n"
    assert done.stderr.startswith("orchestrator: a function forked in worker ")
    assert done.stderr.count("\n") == 1


class ForksWhenPickled:
    def __reduce__(self):
        if child := os.fork():
            os.waitpid(child, 0)
        return str, ("made",)


@pytest.mark.parametrize("where", ["initializer", "finalizer", "result"])
def test_what_forks_elsewhere_serves_no_lane(start_method, where, capfd):
    def fork():
        if child := os.fork():
            os.waitpid(child, 0)

    with Pool(1, start_method=start_method, **({where: fork} if where.endswith("izer") else {})) as pool:
        if where == "result":
            assert pool.submit(ForksWhenPickled).result() == "made"
        assert list(pool.map(abs, range(20))) == list(range(20))
    said = capfd.readouterr().err
    assert said.startswith("orchestrator: a function forked in worker 0")
    assert said.count("\n") == 1


def loaded():
    if child := os.fork():
        os.waitpid(child, 0)
    return 1


class Loads:
    def __reduce__(self):
        return loaded, ()


def test_an_item_that_forks_while_it_is_loaded_fails(pool):
    with pytest.raises(ItemError, match=CAUSE):
        list(pool.map(type, [Loads()]))
    assert list(pool.map(abs, range(10))) == list(range(10))


def test_records_of_a_file(tmp_path):
    (tmp_path / "twice.py").write_text(
        "import os\n"
        "def twice(line):\n"
        "    if line == '3' and (child := os.fork()):\n"
        "        os.waitpid(child, 0)\n"
        "    return line\n"
    )
    (tmp_path / "in.txt").write_text("".join(f"{x}\n" for x in range(100)))
    done = run(["-m", "orchestrator", "run", "twice:twice", "in.txt", "-o", "out.txt", "-j", "2", "--on-error", "skip"], cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "line 4" in done.stderr
    assert "forked in worker" in done.stderr
    assert (tmp_path / "out.txt").read_text().split() == [str(x) for x in range(100) if x != 3]
