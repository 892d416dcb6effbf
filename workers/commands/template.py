"""Turns a command line with places for arguments, in GNU parallel's form, into shell text.

Pure.

    {}  the argument     {.}  without its extension     {/}  without its folder     {//}  the folder     {/.}  both
    {1} {2} {-1} {1/.}   those of one group             {#}  the number of the command   {%}  the slot that it runs in

An argument never becomes part of the shell's text. It travels as a positional parameter into a variable, and the text
names the variable, in quotes that suit its place. So an argument arrives as it is, whatever stands in it. Where the
shell, or a command like `eval`, reads text a second time, that isn't enough; such places are refused by
`workers/commands/shell_grammar.py`. (GNU parallel quotes as if all places were bare: there, `'{}'` undoes the quoting,
and `$(...)` in a file's name is run.)
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from workers.commands.shell_grammar import BARE, DIGITS, DOUBLE, PLACE, RAW, SINGLE, ShellPlaces, TemplateError, Where

__all__ = ["CommandTemplate", "Place", "TemplateError", "bare_commands", "parse"]

_SHELL = "/bin/sh"
_EXTENSION = re.compile(r"\.[^/.]*\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A place for an argument."""

    what: str
    """"argument", "seq" or "slot"."""
    group: int | None = None
    """Which group's argument, from 1, or from the last with -1; None: those of all groups."""
    form: str = ""
    """"", ".", "/", "//" or "/."."""
    within: str = BARE
    """What stands around it: BARE, SINGLE or DOUBLE quotes; DIGITS: only a number may; RAW: it is shell text itself."""


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command line, cut at its places."""

    parts: tuple[str | Place, ...]

    def argv(self, arguments: tuple[str, ...], seq: int, slot: int) -> list[bytes]:
        """Return the process to start: the shell, its text, and the arguments that the text refers to."""
        values: list[str] = []

        def text_of(part: str | Place) -> str:
            if isinstance(part, str):
                return part
            if part.within == RAW:
                return arguments[0]
            if part.what != "argument":
                number = str(seq if part.what == "seq" else slot)
                return f'"{number}"' if part.within == BARE else number
            names = []
            for value in _values(part, arguments):
                values.append(value)
                names.append(_as_variable(len(values), part.within))
            return " ".join(names)

        text = "".join(map(text_of, self.parts))
        if values:
            taken = " ".join(f"{_variable(n)}=${{{n}}}" for n in range(1, len(values) + 1))
            text = f"{taken}; shift {len(values)}; {text}"  # so that `set --`, `$#` and functions find none of ours
        return [os.fsencode(each) for each in (_SHELL, "-c", text, _SHELL, *values)]

    def render(self, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
        """Return the command line for logs and `--dry-run`, with the arguments quoted in place.

        `seq` and `slot` count from 1; a slot that is not known yet is "{%}".
        """
        return "".join(part if isinstance(part, str) else _shown(part, arguments, seq, slot) for part in self.parts)

    @property
    def groups(self) -> int:
        """The least number of groups of arguments that the places need."""
        return max((abs(part.group) for part in self.parts if isinstance(part, Place) and part.group), default=1)

    @property
    def names_slot(self) -> bool:
        """Whether the line depends on the slot that it runs in."""
        return any(isinstance(part, Place) and part.what == "slot" for part in self.parts)


def parse(text: str) -> CommandTemplate:
    """Cut a command line at its places.

    One without any gets its argument at the end.

    Raises:
        TemplateError: it is empty, a quote is not closed, it has an expression in Perl, or an argument stands where
            something could run it.
    """
    if not text.strip():
        raise TemplateError("the command is empty")
    found = ShellPlaces(text).find()
    if not found:
        text += " {}"
        found = _at_the_end(text)
    return CommandTemplate(tuple(_cut(text, found)))


def bare_commands() -> CommandTemplate:
    """Return the template of commands that are arguments themselves."""
    return CommandTemplate((Place("argument", within=RAW),))


def _at_the_end(text: str) -> list[Where]:
    """Find the place that was put at the end of a command without any."""
    reader = ShellPlaces(text)
    found = reader.find()
    if not found or reader.ends_with_command_name:
        raise TemplateError(
            "the command has no place for its argument, and the argument can't stand at its end: there, it would be "
            f"{'the name of a command' if found else 'part of a comment'}. Put {{}} where it belongs; to run arguments "
            "as commands, give no command: orchestrator exec ::: 'make docs' 'make test'"
        )
    return found


def _cut(text: str, found: list[Where]) -> list[str | Place]:
    """Return the text between the places, and the places."""
    parts: list[str | Place] = []
    done = 0
    for where in found:
        match = PLACE.match(text, where.start)
        assert match is not None  # noqa: S101 - it was found by this
        if done < where.start:
            parts.append(text[done : where.start])
        what = {"#": "seq", "%": "slot", None: "argument"}[match["sign"]]
        parts.append(Place(what, int(match["group"]) if match["group"] else None, match["form"] or "", where.within))
        done = match.end()
    return [*parts, text[done:]] if done < len(text) else parts


def _variable(number: int) -> str:
    return f"_orchestrator_{number}"


def _as_variable(number: int, within: str) -> str:
    named = f"${{{_variable(number)}}}"
    return {BARE: f'"{named}"', SINGLE: f"'\"{named}\"'", DOUBLE: named}[within]


def _values(place: Place, arguments: tuple[str, ...]) -> list[str]:
    if place.group is None:
        return [_formed(argument, place.form) for argument in arguments]
    return [_formed(arguments[place.group - 1 if place.group > 0 else place.group], place.form)]


def _formed(argument: str, form: str) -> str:
    if form == "//":
        folder = argument.rstrip("/").rpartition("/")[0].rstrip("/")
        return folder or ("/" if argument.startswith("/") else ".")
    if form in {"/", "/."}:
        argument = argument.rpartition("/")[2]
    return _EXTENSION.sub("", argument) if form.endswith(".") else argument


def _shown(place: Place, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
    if place.what == "seq":
        return str(seq)
    if place.what == "slot":
        return "{%}" if slot is None else str(slot)
    return " ".join(_quoted(value, place.within) for value in _values(place, arguments))


def _quoted(text: str, within: str) -> str:
    if within == SINGLE:
        return text.replace("'", "'\\''")
    if within == DOUBLE:
        return re.sub(r'([\\"$`])', r"\\\1", text)
    return text if within in {RAW, DIGITS} else shlex.quote(text)
