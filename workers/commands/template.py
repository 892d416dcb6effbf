"""Turns a command line with places for arguments (`workers/commands/placeholders.py`) into shell text.

Pure.

An argument never becomes part of the shell's text. It travels as a positional parameter into a variable, and the text
names the variable, in quotes that suit its place. So an argument arrives as it is, whatever stands in it. Where the
shell, or a command like `eval`, reads text a second time, that isn't enough; such places are refused by
`workers/commands/shell_grammar.py`. (GNU parallel quotes as if all places were bare: there, `'{}'` undoes the quoting,
and `$(...)` in a file's name is run.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from workers.commands.placeholders import (
    BARE,
    DIGITS,
    DOUBLE,
    RAW,
    SINGLE,
    Place,
    Placeholders,
    TemplateError,
    counted,
    number_or_values,
)
from workers.commands.shell_grammar import ShellPlaces, Where

__all__ = ["CommandTemplate", "Place", "Placeholders", "TemplateError", "bare_commands", "parse", "quoted_words"]

SHELL = "/bin/sh"
_PLAIN = Placeholders()
_LONGEST_TEXT = 120_000
"""Bytes of the shell's text; the kernel takes 131,071 as one argument."""
_PIECE = _LONGEST_TEXT // 4
"""Characters, of up to 4 bytes."""
_UNQUOTED = re.compile(r"[-_.+A-Za-z0-9/]+")


@dataclass(frozen=True, slots=True)
class Repeated:
    """A word that stands there once for each argument, as under `-X`."""

    parts: tuple[str | Place, ...]

    def each(self, arguments: Sequence[str]) -> list[str | Place]:
        """Return its parts for every argument, by the argument's group, with blanks between."""
        found: list[str | Place] = []
        for number in range(1, len(arguments) + 1):
            found += [" "] if number > 1 else []
            found += [
                replace(part, group=number) if isinstance(part, Place) and part.takes_all else part
                for part in self.parts
            ]
        return found


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command line, cut at its places."""

    parts: tuple[str | Place | Repeated, ...]
    shell: str = SHELL

    def argv(self, arguments: tuple[str, ...], seq: int, slot: int) -> list[bytes]:
        """Return the process to start: the shell, its text, and the arguments that the text refers to.

        Raises:
            TemplateError: an expression fails.
        """
        values: list[str] = []

        def text_of(part: str | Place) -> str:
            if isinstance(part, str):
                return part
            found = number_or_values(part, arguments, seq, slot)
            if part.within == RAW:
                return " ".join(found)
            if not part.is_argument:
                return f'"{found[0]}"' if part.within == BARE else found[0]
            names = []
            for value in found:
                values.append(value)
                names.append(_as_variable(len(values), part.within))
            return " ".join(names)

        text = "".join(map(text_of, self._spread(arguments)))
        if values:
            taken = " ".join(f"{_variable(n)}=${{{n}}}" for n in range(1, len(values) + 1))
            text = f"{taken}; shift $#; {text}"  # so that `set --`, `$#` and functions find none of ours
        text, *pieces = _in_pieces(text, len(values))
        return [os.fsencode(each) for each in (self.shell, "-c", text, SHELL, *values, *pieces)]

    def render(self, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
        """Return the command line for logs and `--dry-run`, with the arguments quoted in place.

        `seq` and `slot` count from 1; a slot that is not known yet is "{%}".
        """
        return "".join(
            part if isinstance(part, str) else _shown(part, arguments, seq, slot) for part in self._spread(arguments)
        )

    def counting(self, total: int) -> CommandTemplate:
        """Return the template that knows how many commands there are."""

        def known(part: str | Place | Repeated) -> str | Place | Repeated:
            if isinstance(part, Repeated):
                return Repeated(tuple(each if isinstance(each, str) else counted(each, total) for each in part.parts))
            return part if isinstance(part, str) else counted(part, total)

        return replace(self, parts=tuple(map(known, self.parts)))

    @property
    def placeholders(self) -> list[Place]:
        """The places in it."""
        inside = [each for part in self.parts for each in (part.parts if isinstance(part, Repeated) else (part,))]
        return [each for each in inside if isinstance(each, Place)]

    @property
    def groups(self) -> int:
        """The least number of groups of arguments that the places need."""
        return max((abs(place.group) for place in self.placeholders if place.group), default=1)

    @property
    def names_slot(self) -> bool:
        """Whether the line depends on the slot that it runs in."""
        return any(place.what == "slot" or "slot" in place.text for place in self.placeholders)

    @property
    def names_total(self) -> bool:
        """Whether the line has the number of all commands in it."""
        return any(place.what == "total" for place in self.placeholders)

    def _spread(self, arguments: tuple[str, ...]) -> list[str | Place]:
        found: list[str | Place] = []
        for part in self.parts:
            found += part.each(arguments) if isinstance(part, Repeated) else [part]
        return found


def parse(
    text: str,
    places: Placeholders = _PLAIN,
    *,
    shell: str = SHELL,
    appends: bool = True,
    repeats: bool = False,
) -> CommandTemplate:
    """Cut a command line at its places.

    Args:
        text: the line.
        places: what counts as one.
        shell: runs the line.
        appends: whether a line without any place gets its argument at the end.
        repeats: whether a word with a place for all arguments stands there once for each.

    Raises:
        TemplateError: it is empty, a quote is not closed, it has an expression in Perl, or an argument stands where
            something could run it.
    """
    if not text.strip():
        raise TemplateError("the command is empty")
    reader = ShellPlaces(text, places)
    found = reader.find()
    if not found and appends:
        text += f" {places.replacement}"
        reader = ShellPlaces(text, places)
        found = _at_the_end(reader)
    words = reader.words if repeats else []
    return CommandTemplate(tuple(_repeating(text, found, words)), shell)


def bare_commands(shell: str = SHELL) -> CommandTemplate:
    """Return the template of commands that are arguments themselves."""
    return CommandTemplate((Place("argument", within=RAW),), shell)


def quoted_words(words: Sequence[str], places: Placeholders) -> str:
    """Return a command line in which the shell sees nothing but words and places in these words, as under --quote."""
    return " ".join("".join(_literal(each, places)) or "''" for each in words)


def _literal(word: str, places: Placeholders) -> Iterator[str]:
    """Yield a word's text in quotes, and its places as they are."""
    done = 0
    while found := places.search(word, done):
        at, _, end = found
        yield from (_in_quotes(word[done:at]) if at > done else "", word[at:end])
        done = end
    if done < len(word):
        rest = word[done:]
        yield rest if not done and _UNQUOTED.fullmatch(rest) else _in_quotes(rest)


def _at_the_end(reader: ShellPlaces) -> list[Where]:
    """Find the place that was put at the end of a command without any."""
    found = reader.find()
    if not found or reader.ends_with_command_name:
        raise TemplateError(
            "the command has no place for its argument, and the argument can't stand at its end: there, it would be "
            f"{'the name of a command' if found else 'part of a comment'}. Put {{}} where it belongs; to run arguments "
            "as commands, give no command: orchestrator exec ::: 'make docs' 'make test'"
        )
    return found


def _repeating(text: str, found: list[Where], words: list[tuple[int, int]]) -> list[str | Place | Repeated]:
    """Return the parts of the line, with the innermost words around places for all arguments as one part each."""
    parts: list[str | Place | Repeated] = []
    done = 0
    rest = list(found)
    while rest:
        where = rest[0]
        around = [word for word in words if word[0] <= where.start < word[1]] if where.place.takes_all else []
        start, end = min(around, key=lambda word: word[1] - word[0], default=(where.start, where.end))
        inside = [each for each in rest if each.start < end]
        rest = rest[len(inside) :]
        if start > done:
            parts.append(text[done:start])
        cut = _cut(text, inside, max(start, done), end)
        parts += [Repeated(tuple(cut))] if around else cut
        done = end
    return [*parts, text[done:]] if done < len(text) else parts


def _cut(text: str, found: list[Where], start: int, end: int) -> list[str | Place]:
    """Return the text from `start` to `end` between the places, and the places."""
    parts: list[str | Place] = []
    for where in found:
        if start < where.start:
            parts.append(text[start : where.start])
        parts.append(where.place)
        start = where.end
    return [*parts, text[start:end]] if start < end else parts


def _in_pieces(text: str, values: int) -> list[str]:
    """Return the shell's text.

    One too long for an argument comes as pieces, behind a text that runs them as one.

    `values`: how many arguments stand before the pieces.
    """
    if len(text) <= _PIECE or len(os.fsencode(text)) <= _LONGEST_TEXT:
        return [text]
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    whole = "".join(f"${{{number}}}" for number in range(values + 1, values + len(pieces) + 1))
    return [f'eval "{whole}"', *pieces]


def _variable(number: int) -> str:
    return f"_orchestrator_{number}"


def _as_variable(number: int, within: str) -> str:
    named = f"${{{_variable(number)}}}"
    return {BARE: f'"{named}"', SINGLE: f"'\"{named}\"'", DOUBLE: named}[within]


def _shown(place: Place, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
    found = number_or_values(place, arguments, seq, slot)
    return " ".join(_quoted(each, place.within) for each in found) if place.is_argument else found[0]


def _quoted(text: str, within: str) -> str:
    if within == SINGLE:
        return text.replace("'", "'\\''")
    if within == DOUBLE:
        return re.sub(r'([\\"$`])', r"\\\1", text)
    return text if within in {RAW, DIGITS} or _UNQUOTED.fullmatch(text) else _in_quotes(text)


def _in_quotes(text: str) -> str:
    """Return a text in single quotes, as GNU parallel writes it."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
