"""The judge of memory against a machine that is only numbers: work always goes on, and nobody is ended without need."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.core.memory_policy import MemoryAction, MemoryJudge, WorkerMemory

LIMIT, FREE = 100, 40
own = st.sampled_from([0, 50, 100, 101, 125, 126, 1000])
workers = st.lists(
    st.tuples(own, st.none() | st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans()),
    max_size=6,
    unique_by=lambda each: object() if each[1] is None else each[1],
).map(lambda rows: [WorkerMemory(key, *row) for key, row in enumerate(rows)])


@given(workers, st.none() | st.integers(0, 60), st.sampled_from([None, LIMIT]), st.sampled_from([None, FREE]))
def test_who_gets_what(workers, available, limit, free):
    judge = MemoryJudge(limit, free)
    deeds = judge.judge(workers, available)
    assert len({key for key, _ in deeds}) == len(deeds)
    by_key = dict(deeds)
    over = set() if limit is None else {each.key for each in workers if each.own_bytes > limit and not each.going}
    youngest = {key for key, action in deeds if action is MemoryAction.END_LATER_AGAIN}
    assert set(by_key) == over | youngest
    for each in workers:
        if each.key in over:
            far = each.own_bytes > 125 and each.works_on is not None
            assert by_key[each.key] is (MemoryAction.GIVE_UP_POOL if each.starting else MemoryAction.END if far else MemoryAction.RETIRE)
    assert judge.short == (free is not None and available is not None and available < free)
    working = [each for each in workers if each.works_on is not None]
    may_go = [each for each in working if not each.in_step]
    relief = judge.short and available < free / 2 and len(working) > 1 and may_go
    relief = relief and not over and not any(each.going for each in workers)
    assert youngest == ({max(may_go, key=lambda each: each.works_on).key} if relief else set())


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=25),  # what each item takes; the machine has 100
    st.integers(1, 5),
    st.integers(0, 60),  # what others take of it
    st.randoms(use_true_random=False),
)
def test_every_item_comes_through_however_short_memory_is(needs, workers, others, chance):
    """Items grow by turns until they have what they need, then take a few turns more; what is ended begins anew."""
    judge = MemoryJudge(None, FREE)
    todo, number, ended, turns = list(range(len(needs))), 0, 0, 0
    at_work = {}  # worker -> [item, number of its chunk, memory, turns left]
    while todo or at_work:
        turns += 1
        assert turns < 60 * len(needs), "no progress"
        for worker in range(workers):
            if worker not in at_work and todo and (not judge.short or not at_work):
                at_work[worker] = [todo.pop(0), number, 0, chance.randrange(1, 6)]
                number += 1
        for worker, work in list(at_work.items()):
            work[2] = min(needs[work[0]], work[2] + chance.randrange(1, 20))
            work[3] -= work[2] == needs[work[0]]
            if work[3] <= 0:
                del at_work[worker]
        free = 100 - others - sum(work[2] for work in at_work.values())
        seen = [WorkerMemory(worker, work[2], work[1]) for worker, work in at_work.items()]
        for worker, action in judge.judge(seen, max(0, free)):
            assert action is MemoryAction.END_LATER_AGAIN
            assert len(at_work) > 1
            assert free < FREE / 2
            ended += 1
            todo.append(at_work.pop(worker)[0])
    if 100 - others - workers * max(needs) >= FREE:
        assert not ended
