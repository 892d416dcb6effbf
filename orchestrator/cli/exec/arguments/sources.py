"""Finds the sources of arguments on the command line, and makes rows of what they give.

Runs in the coordinator, before a worker starts.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.cli.exec.arguments.lines import Lines, ListedLines, StreamedLines, lines_of
from orchestrator.cli.exec.arguments.packing import Packing
from orchestrator.cli.exec.arguments.records import Records, split_of
from orchestrator.cli.exec.arguments.rows import CombinedRows, ListedRows, Rows, linked
from orchestrator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Markers:
    """The words that stand before groups of arguments."""

    words: str = ":::"
    files: str = "::::"

    @property
    def all(self) -> tuple[str, ...]:
        """Each of them, and those of groups that go in step."""
        return self.words, f"{self.words}+", self.files, f"{self.files}+"


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Where the arguments come from, and what becomes of their lines."""

    words: tuple[str, ...] = ()
    """The arguments, with their markers if there are any."""
    files: tuple[str, ...] = ()
    """Of -a."""
    markers: Markers = Markers()
    end: bytes = b"\n"
    """What ends a line of a file or of standard input."""
    colsep: str | None = None
    as_csv: bool = False
    named: bool = False
    """Whether the first line of each source names its columns."""
    links: bool = False
    shuffles: bool = False
    packing: Packing | None = None
    """None: a row a command."""


def rows_of(inputs: InputSettings) -> tuple[Rows, tuple[str, ...]]:
    """Return the rows that the words behind the command mean, not yet packed, and the names of their groups.

    Raises:
        ConfigError: a file can't be read, or a marker stands where it can't.
    """
    split = split_of(inputs.colsep, as_csv=inputs.as_csv)
    clusters = [
        [Records(lines, split, named=inputs.named) for lines in cluster] for cluster in _clusters(inputs)
    ]
    groups = list(itertools.chain(*clusters))
    names = tuple(itertools.chain(*(group.names for group in groups)))
    rows: Rows = linked(groups) if inputs.links and len(groups) > 1 else CombinedRows(clusters)
    if inputs.shuffles:
        shuffled = list(rows)
        random.shuffle(shuffled)  # an order, no secret
        rows = ListedRows(shuffled, rows.width)
    return rows, names


def _clusters(inputs: InputSettings) -> list[list[Lines]]:
    """Return the sources, those together that go in step."""
    words, markers, end = inputs.words, inputs.markers, inputs.end
    clusters: list[list[Lines]] = [[lines_of(path, end)] for path in inputs.files]
    if not words and not clusters:
        return [[StreamedLines(0, end)]]
    if words and words[0] not in markers.all:
        return [*clusters, [ListedLines(words)]]
    for marker, values in _marked(words, markers):
        for lines in _groups(marker, values, inputs):
            if not marker.endswith("+"):
                clusters.append([lines])
            elif clusters:
                clusters[-1].append(lines)
            else:
                raise ConfigError(f"{marker} pairs with the arguments before it, but there are none")
    return clusters


def _marked(words: Sequence[str], markers: Markers) -> Iterator[tuple[str, list[str]]]:
    """Yield each marker with the words up to the next."""
    starts = [at for at, word in enumerate(words) if word in markers.all]
    for start, end in itertools.pairwise([*starts, len(words)]):
        yield words[start], list(words[start + 1 : end])


def _groups(marker: str, values: list[str], inputs: InputSettings) -> list[Lines]:
    if marker.removesuffix("+") == inputs.markers.files:
        if not values:
            raise ConfigError(f"{marker} needs the name of an argument file, or - for standard input")
        return [lines_of(path, inputs.end) for path in values]
    return [ListedLines(values)]
