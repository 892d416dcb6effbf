"""What chunks are cut from."""

from orchestrator.graph.source_stage import _cutter


class Slow:
    """A source that has some of its items now."""

    def __init__(self, items, ready):
        self.items, self.left = iter(items), ready

    wait_s = None

    def when_ready(self, call):
        """Never called, as nobody waits."""

    def ready(self):
        return self.left > 0

    def __iter__(self):
        return self

    def __next__(self):
        assert self.left > 0, "its reader would have to wait"
        self.left -= 1
        return next(self.items)


def test_no_item_is_waited_for_while_others_are_there():
    source = Slow("abcdef", ready=3)
    cutter = _cutter(source)
    assert list(cutter.cut(2)) == ["a", "b"]
    assert list(cutter.cut(64)) == ["c"]
    assert list(cutter.cut(64)) == []
    source.left = 5
    assert list(cutter.cut(64)) == ["d", "e", "f"]
    assert cutter.ended


def test_a_source_that_never_makes_its_reader_wait_is_cut_at_once():
    cutter = _cutter(iter(range(5)))
    assert list(cutter.cut(3)) == [0, 1, 2]
    assert list(cutter.cut(3)) == [3, 4]
    assert cutter.ended
