"""Deals blocks out to commands that run all the time, as under --round-robin.

    blocks --thread--> the pipe of a command that has taken all it was given --> its standard input

Owner of the state: the thread; the coordinator's only closes the reading ends of commands that have ended.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.exec.blocks.cutting import Block
from workers.commands.inputs import Feeder, Input

if TYPE_CHECKING:
    from orchestrator.cli.exec.blocks.cutting import Blocks


@dataclass(slots=True)
class _Hand:
    """The pipe of one command."""

    feeder: Feeder
    block: Block | None = None
    """What is on its way to it."""

    def release(self) -> None:
        """Stop writing, as the command has ended."""
        self.feeder.leave()


class DealtBlocks:
    """A pipe for each worker, which blocks are dealt to."""

    width: int | None = 1

    def __init__(self, blocks: Blocks, workers: int) -> None:
        self._blocks = blocks
        self._unread = iter(blocks)
        self.total: int | None = max(1, workers)
        self.ready, self.when_ready = blocks.ready, blocks.when_ready
        self._hands: list[_Hand] = []
        self._begun = False

    def __iter__(self) -> Iterator[Block]:
        """Yield the pipes, none if there is no block."""
        first = next(self._unread, None)
        if first is None:
            return
        self._hands = [_Hand(Feeder()) for _ in range(self.total or 1)]
        self.ready = lambda: True
        pipes = [f"/proc/{os.getpid()}/fd/{hand.feeder.read_fd}" for hand in self._hands]
        thread = threading.Thread(target=self._deal, args=(first,), name="orchestrator-dealer", daemon=True)
        thread.start()
        for path, hand in zip(pipes, list(self._hands), strict=True):
            yield Block(Input(path, 0, 0, is_pipe=True), hand)

    def close(self) -> None:
        """Deal nothing more."""
        self._blocks.close()

    def _deal(self, block: Block | None) -> None:
        """Run the thread."""
        poller = select.poll()
        hands = {hand.feeder.write_fd: hand for hand in self._hands}
        for fd in hands:
            poller.register(fd, select.POLLOUT)
        while hands and (block is not None or any(hand.block for hand in hands.values())):
            for fd, _ in poller.poll():
                hand = hands[fd]
                if hand.block is None and block is not None:
                    more = hand.feeder.give(block.input)
                    hand.block, block = block, None
                else:
                    more = hand.block is not None and hand.feeder.feed()
                if not more:
                    self._taken(hand)
                    block = block if block is not None else self._next()
                if hand.feeder.is_broken or (block is None and hand.block is None):
                    poller.unregister(fd)
                    del hands[fd]
                    hand.feeder.end()
        for hand in hands.values():
            hand.feeder.end()

    def _next(self) -> Block | None:
        with suppress(Exception):  # of a pipe that can't be read: what came is dealt
            return next(self._unread, None)
        return None

    @staticmethod
    def _taken(hand: _Hand) -> None:
        if hand.block is not None:
            hand.block.release()
            hand.block = None
