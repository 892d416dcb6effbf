r"""Line ends, as a format sees them: at one byte, and for CSV at "\n", "\r\n" and "\r", as the csv module does."""

from __future__ import annotations

from typing import NamedTuple


class LineEnds(NamedTuple):
    """What ends a line."""

    end: bytes = b"\n"
    """The one byte that ends a line, or whatever a record is for formats without lines."""
    returns: bool = False
    r"""Whether "\r" does, too, unless "\n" follows."""

    def number_in(self, data: bytes, before: bytes = b"") -> int:
        r"""Count the line ends in bytes.

        Args:
            data: any piece of a file; it may begin or end between "\r" and "\n".
            before: the byte before the piece: a line end that lies on both sides was counted with its "\r".
        """
        found = data.count(self.end)
        if self.returns and (returns := data.count(b"\r")):
            found += returns - data.count(b"\r\n")
        if self.returns and before == b"\r" and data[:1] == b"\n":
            found -= 1
        return found

    def lines(self, data: bytes) -> list[bytes]:
        """Return the lines of a block, each with its line end."""
        if self.returns:
            return data.splitlines(keepends=True)
        *lines, last = data.split(self.end)
        return [line + self.end for line in lines] + [last] * bool(last)

    def around(self, data: bytes, at: int) -> tuple[int, int]:
        """Return the start of the line of the byte at an offset, and its end, behind the line end."""
        start, feed = data.rfind(self.end, 0, at) + 1, data.find(self.end, at)
        if not self.returns:
            return start, feed + 1 or len(data)
        start, bare = max(start, data.rfind(b"\r", 0, at) + 1), data.find(b"\r", at)
        if bare >= 0 and not 0 <= feed < bare:
            return start, bare + (2 if feed == bare + 1 else 1)
        return start, feed + 1 or len(data)
