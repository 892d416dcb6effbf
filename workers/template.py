"""A command line with places for arguments, as GNU parallel writes them, and its way to a line for the shell. Pure.

    {}  the argument     {.}  without its extension     {/}  without its folder     {//}  the folder     {/.}  both
    {1} {2} {-1} {1/.}   those of one group             {#}  the number of the command   {%}  the slot that it runs in

An argument arrives at the command as it is, whatever stands in it: it is quoted by where its place stands, bare,
between single quotes or between double quotes. (GNU parallel quotes as if all places were bare: there, `'{}'` undoes
the quoting, and `$(...)` in a file's name is run.)
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_PLACE = re.compile(r"\{(?:(?P<sign>[#%])|(?P<group>-?[1-9][0-9]*)?(?P<form>/\.|//|/|\.)?)\}")
_EXTENSION = re.compile(r"\.[^/.]*\Z")
_BARE, _SINGLE, _DOUBLE, _RAW = "bare", "single", "double", "raw"


class TemplateError(ValueError):
    """The command line can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is put in."""

    what: str
    """"argument", "seq" or "slot"."""
    group: int | None = None
    """Which group's argument, from 1, or from the last with -1; None: those of all groups."""
    form: str = ""
    """"", ".", "/", "//" or "/."."""
    within: str = _BARE
    """What stands around it: "bare", "single", "double"; "raw": it is shell text itself."""


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A command line, cut at its places."""

    parts: tuple[str | Place, ...]

    def render(self, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
        """Return the line for the shell; `seq` and `slot` count from 1, a slot that is not known yet is "{%}"."""
        return "".join(part if isinstance(part, str) else _filled(part, arguments, seq, slot) for part in self.parts)

    @property
    def groups(self) -> int:
        """How many groups of arguments the places ask for at least."""
        return max((abs(part.group) for part in self.parts if isinstance(part, Place) and part.group), default=1)

    @property
    def names_slot(self) -> bool:
        """Whether the line depends on the slot that it runs in."""
        return any(isinstance(part, Place) and part.what == "slot" for part in self.parts)


def parse(text: str) -> CommandTemplate:
    """Cut a command line at its places; one without any gets its argument at the end.

    Raises:
        TemplateError: it is empty, a quote is not closed, or it has an expression in Perl.
    """
    if not text.strip():
        raise TemplateError("the command is empty")
    parts = _Scanner(text).parts()
    if not any(isinstance(part, Place) for part in parts):
        parts += [" ", Place("argument")]
    return CommandTemplate(tuple(parts))


def bare_commands() -> CommandTemplate:
    """Return the template of commands that are arguments themselves."""
    return CommandTemplate((Place("argument", within=_RAW),))


class _Scanner:
    """Reads a command line as the shell does, as far as its quotes go."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._within = [_BARE]
        self._parts: list[str | Place] = []
        self._literal = ""

    def parts(self) -> list[str | Place]:
        """Return the text between the places, and the places."""
        text = self._text
        while self._at < len(text):
            found = _PLACE.match(text, self._at)
            if found:
                self._place(found)
            elif text.startswith("{=", self._at):
                raise TemplateError("{= … =}, an expression in Perl, is not known here; write a script and run that")
            else:
                self._keep(self._step())
        if self._within != [_BARE] and "<<" not in text:
            raise TemplateError("a quote or a bracket in the command is not closed")
        self._flush()
        return self._parts

    def _place(self, found: re.Match[str]) -> None:
        self._flush()
        sign, group = found["sign"], found["group"]
        what = {"#": "seq", "%": "slot", None: "argument"}[sign]
        self._parts.append(Place(what, int(group) if group else None, found["form"] or "", self._within[-1]))
        self._at = found.end()

    def _step(self) -> int:
        """Return how many characters go together here, and note which quotes they open or close."""
        char, within = self._text[self._at], self._within
        if within[-1] == _SINGLE:
            if char == "'":
                within.pop()
            return 1
        if char == "\\":
            return 2
        if self._text.startswith("$(", self._at) or (char == "(" and within[-1] == _BARE):
            within.append(_BARE)
            return 2 if char == "$" else 1
        if char == '"' and within[-1] == _DOUBLE:
            within.pop()
        elif char == '"':
            within.append(_DOUBLE)
        elif within[-1] == _BARE:
            return self._bare_step(char)
        return 1

    def _bare_step(self, char: str) -> int:
        if char == "'":
            self._within.append(_SINGLE)
        elif char == ")" and len(self._within) > 1:
            self._within.pop()
        elif char == "#" and (self._at == 0 or self._text[self._at - 1] in " \t\n;&|("):
            end = self._text.find("\n", self._at)
            return (len(self._text) if end < 0 else end) - self._at  # a comment: nothing is put into it
        return 1

    def _keep(self, count: int) -> None:
        self._literal += self._text[self._at : self._at + count]
        self._at += count

    def _flush(self) -> None:
        if self._literal:
            self._parts.append(self._literal)
            self._literal = ""


def _filled(place: Place, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
    if place.what == "seq":
        return str(seq)
    if place.what == "slot":
        return "{%}" if slot is None else str(slot)
    chosen = arguments if place.group is None else (_of_group(arguments, place.group),)
    return " ".join(_quoted(_formed(argument, place.form), place.within) for argument in chosen)


def _of_group(arguments: tuple[str, ...], group: int) -> str:
    return arguments[group - 1 if group > 0 else group]


def _formed(argument: str, form: str) -> str:
    if form == "//":
        folder = argument.rstrip("/").rpartition("/")[0].rstrip("/")
        return folder or ("/" if argument.startswith("/") else ".")
    if form in {"/", "/."}:
        argument = argument.rpartition("/")[2]
    return _EXTENSION.sub("", argument) if form.endswith(".") else argument


def _quoted(text: str, within: str) -> str:
    if within == _SINGLE:
        return text.replace("'", "'\\''")
    if within == _DOUBLE:
        return re.sub(r'([\\"$`])', r"\\\1", text)
    return text if within == _RAW else shlex.quote(text)
