"""Deals blocks out to commands that run all the time, as under --round-robin.

    blocks --thread--> the pipe of a command that has taken all it was given --> its standard input

Owner of the state: the thread; the coordinator's only closes the reading ends of commands that have ended.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
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
        self._hands: list[_Hand] = []
        self._left: deque[Block] = deque()
        """The pipes that no command has been given yet."""
        self._is_dealing = False
        self._error: Exception | None = None
        """Why the thread has ended before the blocks."""
        self._tell: Callable[[], object] = bool

    def ready(self) -> bool:
        """Tell whether the next pipe, or the end, is here: the end comes when all is dealt."""
        if not self._hands:
            return self._blocks.ready()
        return bool(self._left) or not self._is_dealing

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call` from the threads that read and deal."""
        self._tell = call
        self._blocks.when_ready(call)

    def __iter__(self) -> Iterator[Block]:
        """Yield the pipes, none if there is no block.

        Raises:
            Exception: a block could not be read; what came before it is dealt.
        """
        first = next(self._unread, None)
        if first is None:
            return
        self._hands = [_Hand(Feeder()) for _ in range(self.total or 1)]
        for hand in self._hands:
            path = f"/proc/{os.getpid()}/fd/{hand.feeder.read_fd}"
            self._left.append(Block(Input(path, 0, 0, is_pipe=True), hand))
        self._is_dealing = True
        threading.Thread(target=self._run, args=(first,), name="orchestrator-dealer", daemon=True).start()
        while self._left:
            yield self._left.popleft()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Deal nothing more."""
        self._blocks.close()

    def _run(self, first: Block) -> None:
        """Run the thread."""
        try:
            self._deal(first)
        except Exception as error:
            self._error = error
        finally:
            for hand in self._hands:
                hand.feeder.end()
            self._is_dealing = False
            self._tell()

    def _deal(self, block: Block | None) -> None:
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

    def _next(self) -> Block | None:
        """Return the next block, None if there is none: what others have begun to take is still given to them."""
        if self._error is None:
            try:
                return next(self._unread, None)
            except Exception as error:
                self._error = error
        return None

    @staticmethod
    def _taken(hand: _Hand) -> None:
        if hand.block is not None:
            hand.block.release()
            hand.block = None
