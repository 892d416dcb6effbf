"""Hooks of barriers: once in every worker, when everything is through the stage before, and before anything goes on."""

import os
import threading
from pathlib import Path

import pytest
from support.waiting import Gate

import workers
from orchestrator import ConfigError, ItemError, Pool, Stream, WorkerDiedError, Workflow, run

SEEN = []
TOTALS = []


def remember(x):
    SEEN.append(x)
    return x


def gather():
    """What this worker has seen, and, for those behind, what all have."""
    own = sum(SEEN)
    TOTALS[:] = [workers.current().all_reduce(own, "sum")]
    seen, SEEN[:] = list(SEEN), []
    return seen


def share_of_total(x):
    return x / TOTALS[0]


def die_once():
    if workers.current().id == 0 and not os.path.exists(os.environ["DIED"]):
        open(os.environ["DIED"], "w").close()
        os._exit(7)
    return workers.current().id


def own_id():
    return workers.current().id


def die():
    if workers.current().id == 0:
        os._exit(7)


def fail():
    if workers.current().id == 1:
        raise LookupError("no total")


def wait_at_gate():
    Gate(Path(os.environ["GATE"])).open()
    Gate(Path(os.environ["GATE"] + "2")).wait()


ITEMS = range(1, 1001)


@pytest.fixture(scope="module")
def two():
    with Pool(2) as pool:
        yield pool


def test_it_runs_between_the_stages_in_every_worker(two):
    seen = []
    out = []
    run(Stream(ITEMS).map(remember).barrier(gather, then=seen.append).map(share_of_total).to(out), pool=two)
    assert out == [x / sum(ITEMS) for x in ITEMS]
    assert [len(each) for each in seen] == [2]
    assert sorted(seen[0][0] + seen[0][1]) == list(ITEMS)
    flow = Workflow("shares").step("see", remember).barrier(gather, then=seen.append).step("share", share_of_total)
    assert list(two.map(flow, ITEMS)) == out
    assert list(two.map(Workflow().step("outer", flow), range(1, 5))) == [x / 10 for x in range(1, 5)]
    assert sorted(seen[2][0] + seen[2][1]) == [1, 2, 3, 4]
    assert "[all workers]" in Stream(ITEMS).barrier(gather).explain()


def test_it_needs_no_other_stage_and_no_given_pool():
    ids = []
    assert run(Stream(ITEMS).barrier(own_id, then=ids.extend).to(None)).failed == 0
    assert ids == sorted(set(ids))
    assert ids


def test_a_death_in_it_runs_it_again(two, tmp_path, monkeypatch):
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    ids, out = [], []
    with Pool(3) as pool:  # workers get the environment when they start
        run(Stream(ITEMS).map(remember).barrier(die_once, then=ids.append).map(remember).to(out), pool=pool)
        assert ids == [[0, 1, 2]]
        assert out == list(ITEMS)
        with pytest.raises(WorkerDiedError) as caught:
            run(Stream(ITEMS).barrier(die, desc="the end").to(None), pool=pool)
        assert "in node 'the end'" in caught.value.__notes__
        assert list(pool.map(remember, ITEMS)) == out


def test_its_failure_names_the_barrier_and_leaves_the_pool_usable(two):
    with pytest.raises(ItemError) as caught:
        run(Stream(ITEMS).map(remember).barrier(fail, desc="sum up").map(remember).to(None), pool=two)
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.index == 1
    assert "in node 'sum up'" in caught.value.__notes__
    assert two.run_on_all(os.getpid) == [each.pid for each in two.workers]


def test_others_run_meanwhile_and_it_takes_its_turn(tmp_path, monkeypatch):
    """While one hook waits in the workers another branch goes on here; run_on_all from there is refused, not a hang."""
    begun, may_end = Gate(tmp_path / "gate"), Gate(tmp_path / "gate2")
    monkeypatch.setenv("GATE", str(begun.path))

    def other():
        while not begun.is_open:  # read in the engine's own thread, so it may not wait
            yield 1
        yield 2

    def pausing():
        yield 0
        pool.resize(0)
        threading.Timer(0.2, pool.resize, (3,)).start()

    with Pool(2) as pool:
        hook = Stream([0]).barrier(wait_at_gate).to(None)
        meddling = Stream(other()).map_inline(lambda x: pool.run_on_all(os.getpid) if begun.is_open else x).to(None)
        with pytest.raises(ItemError, match="barrier's hook"):
            run(hook, meddling, pool=pool)
        may_end.open()
        assert len(pool.run_on_all(os.getpid)) == 2

        begun.path.unlink()
        may_end.path.unlink()
        ids = []
        turns = Stream([0]).barrier(own_id, then=ids.append).to(None)
        threads = [threading.Thread(target=pool.run_on_all, args=(wait_at_gate,))]
        threads[0].start()
        begun.wait()
        threads.append(threading.Thread(target=run, args=(turns,), kwargs={"pool": pool}))
        threads[1].start()
        assert not ids
        may_end.open()
        for thread in threads:
            thread.join()
        run(Stream(pausing()).barrier(own_id, then=ids.append).to(None), pool=pool)
        assert ids == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize("branches", [2, 3, 5])
@pytest.mark.parametrize("deadly", [False, True])
def test_those_of_several_branches_take_turns(tmp_path, monkeypatch, branches, deadly):
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    through, outs = [], [[] for _ in range(branches)]
    with Pool(2) as pool:
        ends = [
            branch.map(abs, retries=number)
            .barrier(die_once if deadly else own_id, then=lambda ids, number=number: through.append((number, ids)))
            .map(abs)
            .to(out)
            for number, (branch, out) in enumerate(zip(Stream(ITEMS).broadcast(branches), outs, strict=True))
        ]
        run(*ends, pool=pool)
    assert sorted(through) == [(number, [0, 1]) for number in range(branches)]
    assert outs == [list(ITEMS)] * branches


def test_two_in_a_row_and_two_that_meet_again(two):
    ids = []
    one, other = (each.map(abs).barrier(own_id, then=ids.append) for each in Stream(ITEMS).broadcast(2))
    both = one.map(abs).barrier(own_id, then=ids.append).in_step(other.barrier(own_id, then=ids.append))
    out = []
    run(both.to(out), pool=two)
    assert ids == [[0, 1]] * 4
    assert out == [(k, k) for k in ITEMS]


def test_a_graph_inside_another_does_not_wait_for_its_hook(tmp_path, monkeypatch):
    """It would wait for ever: the outer graph can't go on before the inner one returns."""
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    begun, end = Gate(tmp_path / "gate"), Gate(tmp_path / "gate2")
    refused = []

    def late():
        begun.wait()
        yield 1

    def inner(x):
        with pytest.raises(ConfigError, match="while a barrier's hook runs") as caught:
            run(Stream([x]).barrier(own_id).to(None), pool=pool)
        refused.append(caught.value)
        end.open()
        return x

    with Pool(2) as pool:
        out = []
        held = Stream([1]).barrier(wait_at_gate)
        run(held.to(out), Stream(late(), blocking=True).map_inline(inner).to(out), pool=pool)
    assert out == [1, 1]
    assert len(refused) == 1


@pytest.mark.parametrize("bad", [{"each_worker": 3}, {"then": print}, {"each_worker": fail, "then": 3}])
def test_what_can_not_be(bad):
    with pytest.raises(ConfigError, match="barrier"):
        Stream([1]).barrier(**bad)
    with pytest.raises(ConfigError, match="barrier"):
        Workflow().step("a", remember).barrier(**bad)
    with pytest.raises(ConfigError, match="two barriers with hooks in a row"):
        Workflow().step("a", remember).barrier(fail).barrier(gather)
