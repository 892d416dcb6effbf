"""A kit that any node can be handed to: scripted inputs, consumers with little room, and what came out."""

from orchestrator.graph.flow.node import Node
from orchestrator.sinks.given import GivenSink


def spoil(items):
    """Do to a list what its owner may: a sender that still looks at it, or reuses it, is found out."""
    items[:] = ["spoilt"] * (len(items) % 3)


class Feed(Node):
    """Pushes a list to one input, cut as the test says."""

    __slots__ = ("items",)

    def __init__(self, items):
        super().__init__("feed", inputs=0)
        self.items = list(items)

    def feed(self, count):
        """Push at most so many items, if there is room; end behind the last. Return whether anything happened."""
        outlet = self.outlets[0]
        if outlet.ended or outlet.cancelled:
            return False
        if not self.items:
            outlet.end()
            return True
        count = min(count, outlet.capacity())
        if count <= 0:
            return False
        items, self.items = self.items[:count], self.items[count:]
        outlet.push(items)
        return True

    def cancelled(self, outlet):
        self.items = []


class Drain(Node):
    """Collects what comes, at most `room` items a turn, and spoils the lists, which are its own."""

    __slots__ = ("got", "left", "most", "over", "room")

    def __init__(self, room=10**9):
        super().__init__("drain", outputs=0)
        self.got = []
        self.room = self.left = room
        self.over = 0  # how often its end was told

    def capacity(self, port):
        return self.left

    def receive(self, items, port):
        assert not self.over
        assert items
        self.left = max(0, self.left - len(items))
        self.got += items
        spoil(items)

    def end(self, port):
        self.over += 1


class SideSink:
    """Records what is written, spoils the lists, which are its own, and counts how often it is closed."""

    def __init__(self):
        self.got = []
        self.closes = 0

    def write(self, items):
        assert not self.closes
        self.got += items
        spoil(items)

    def close(self):
        self.closes += 1


def side_sink():
    """A sink as nodes take it, for those who don't look what came to it."""
    return GivenSink(SideSink())


def backlog(node):
    """Items that wait in a node's outlets."""
    return sum(len(outlet.backlog) for outlet in node.outlets)


class Bench:
    """One node between feeds and drains."""

    def __init__(self, node, inputs, rooms=()):
        self.node = node
        self.feeds = [Feed(items) for items in inputs]
        for port, feed in enumerate(self.feeds):
            feed.outlets[0].to(node, port)
        self.drains = [Drain(*rooms[k : k + 1]) for k in range(len(node.outlets))]
        for outlet, drain in zip(node.outlets, self.drains, strict=True):
            outlet.to(drain)
        self.waiting = 0  # the most that ever waited behind the node

    def turn(self, counts):
        """Let consumers take, the node pump, and each feed push so many items."""
        for drain in self.drains:
            drain.left = drain.room
        moved = self.node.pump()
        for feed, count in zip(self.feeds, counts, strict=True):
            moved = (count > 0 and feed.feed(count)) or moved
            self.waiting = max(self.waiting, backlog(self.node))
        return moved

    def run(self, cuts=()):
        """Push everything: the cuts give the list sizes, turn by turn, then 1,000 items a turn."""
        for counts in cuts:
            self.turn((*counts, *[0] * len(self.feeds))[: len(self.feeds)])
        idle = 0
        while idle < 3:
            idle = 0 if self.turn([1000] * len(self.feeds)) else idle + 1
        self.node.close()
        return [drain.got for drain in self.drains]
