"""The line before the credits: whoever asks leaves one for each that has waited longer, and somebody can always go on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.waiting_line import WaitingLine

THREADS = {1: 1, 2: 2, 3: 8}  # thread -> depth

steps = st.lists(st.one_of(st.sampled_from([*THREADS]), st.sampled_from(["back", "away"])), max_size=60)


class Rig:
    """Two lanes, and threads that always want more; what `Coordinator` does with the line."""

    def __init__(self):
        self.line, self.credits, self.out = WaitingLine(), Credits(), []
        for lane in (0, 1):
            self.credits.add_lane(lane)

    def room(self, thread):
        kept, depth = self.line.before(thread, THREADS[thread])
        return max(0, self.credits.room(depth) - kept), depth

    def act(self, thread):
        """Fill what room there is, or wait; return how many chunks were sent."""
        room, depth = self.room(thread)
        if not room:
            self.line.enter(thread, THREADS[thread])
            return 0
        self.line.leave(thread)
        if self.line:
            self.line.serve(thread)
        self.out += [self.credits.take(depth) for _ in range(room)]
        return room


@given(steps)
@settings(max_examples=300, deadline=None)
def test_one_credit_is_kept_for_each_that_waits_longer_and_nobody_waits_for_nothing(script):
    rig = Rig()
    for step in script:
        if step == "back":
            if rig.out:
                rig.credits.give_back(rig.out.pop(0))
        elif step == "away":
            rig.line.leave(1)
        else:
            served = {**rig.line._served}
            longer = [t for t in rig.line._waiting if served[t] < served.get(step, 10**9)]
            before = {t: rig.credits.room(THREADS[t]) for t in longer}
            rig.act(step)
            assert all(rig.credits.room(THREADS[t]) >= min(1, before[t]) for t in longer if t != step)
        waiting = [*rig.line._waiting]
        if waiting and any(rig.credits.room(THREADS[t]) for t in waiting):
            oldest = min(waiting, key=rig.line._served.__getitem__)
            assert rig.credits.room(THREADS[oldest]) == 0 or rig.room(oldest)[0]


def test_who_was_served_goes_behind_the_others_and_an_empty_line_forgets():
    line = WaitingLine()
    line.enter(1, 8)
    line.enter(2, 1)
    assert line.before(1, 8) == (0, 8)
    assert line.before(3, 64) == (2, 1)
    line.serve(1)
    assert line.before(1, 8) == (1, 1)
    assert line.leave(2)
    assert not line.leave(1)
    assert line.before(3, 64) == (0, 64)
