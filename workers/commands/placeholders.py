"""Finds the places for arguments in a text, in GNU parallel's forms.

    {}  the argument     {.}  without its extension     {/}  without its folder     {//}  the folder     {/.}  both
    {1} {2} {-1} {1/.}   those of one group             {#}  the number of the command   {%}  the slot that it runs in
    {name} {name.}       of the column of that name     {py: expression}  what Python makes of the argument

`--plus` adds `{..}` `{...}` `{/..}` `{/...}` `{+/}` `{+.}` `{+..}` `{+...}` `{##}` `{:-default}` `{%suffix}` and
`{#prefix}`; `-I` replaces `{}`. Pure.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from workers.errors.describe import SHOWN, cut, describe, text_of, type_name

BARE, SINGLE, DOUBLE, DIGITS, RAW = "bare", "single", "double", "digits", "raw"

_FORMS = r"/\.|//|/|\."
_MORE_FORMS = r"\.\.\.|\.\.|/\.\.\.|/\.\.|\+\.\.\.|\+\.\.|\+\.|\+/|:-[^{}]*|%%?[^{}%]+|##?[^{}#]+"
_PYTHON = re.compile(r"\{py:")
_ENDINGS = {"." * count: re.compile(r"(\.[^/.]*)" * count + r"\Z") for count in (1, 2, 3)}
_WHATS = {"#": "seq", "%": "slot", "##": "total"}


class TemplateError(ValueError):
    """The command line can't be used.

    The text says why.
    """


@dataclass(frozen=True, slots=True)
class Place:
    """A place for an argument, or for a number of ours."""

    what: str
    """"argument", "seq", "slot" or "total"."""
    group: int | None = None
    """Which group's argument, from 1, or from the last with -1; None: those of all groups."""
    form: str = ""
    """What stands in the braces behind the group; "py:" for an expression."""
    text: str = ""
    """The default, prefix, suffix or expression of the form."""
    within: str = BARE
    """What stands around it: BARE, SINGLE or DOUBLE quotes; DIGITS: only a number may; RAW: it is shell text itself."""

    @property
    def is_argument(self) -> bool:
        """Whether it holds an argument, not a number of ours."""
        return self.what == "argument"

    @property
    def takes_all(self) -> bool:
        """Whether it stands for every argument of the command."""
        return self.is_argument and self.group is None

    def values(self, arguments: tuple[str, ...], seq: int, slot: int | None) -> list[str]:
        """Return what is put here for each of the arguments that it stands for.

        Raises:
            TemplateError: the expression fails.
        """
        if self.group is None:
            chosen = arguments
        else:
            at = self.group - 1 if self.group > 0 else len(arguments) + self.group
            chosen = arguments[at : at + 1] if at >= 0 else ()  # a short last row: nothing is put there
        if self.form == "py:":
            return [_evaluated(self.text, each, arguments, seq, slot) for each in chosen]
        return [formed(each, self.form, self.text) for each in chosen]


@dataclass(frozen=True, slots=True)
class Placeholders:
    """The texts that count as places."""

    replacement: str = "{}"
    """Stands for the argument, as `-I` says."""
    plus: bool = False
    """Whether the forms of `--plus` count."""
    names: tuple[str, ...] = ()
    """Those of the groups, from the first, which stand for their numbers."""

    def match(self, text: str, at: int) -> tuple[Place, int] | None:
        """Return the place that begins here and where it ends, or None.

        Raises:
            TemplateError: it is an expression that is not Python.
        """
        if _PYTHON.match(text, at):
            return _expression(text, at)
        found = _pattern(self).match(text, at)
        if found is None:
            return None
        sign, group, name, form = found["sign"], found["group"], found["name"], found["form"] or ""
        number = int(group) if group else self.names.index(name) + 1 if name else None
        kind = re.match(r":-|%%?|##?", form)
        form, rest = (kind[0], form[kind.end() :]) if kind else (form, "")
        if form in {"%", "%%", "#", "##"}:
            _check_pattern(found[0], rest)
        return Place(_WHATS.get(sign, "argument"), number, form, rest), found.end()

    def search(self, text: str, start: int = 0) -> tuple[int, Place, int] | None:
        """Return the first place from `start` on, as (where it begins, the place, where it ends), or None."""
        for at in range(start, len(text)):
            if found := self.match(text, at):
                return at, *found
        return None

    def plain(self, text: str) -> PlainTemplate:
        """Return a text that no shell reads, cut at its places."""
        parts: list[str | Place] = []
        done = 0
        while found := self.search(text, done):
            at, place, end = found
            parts += [text[done:at], place]
            done = end
        return PlainTemplate((*parts, text[done:]))


@dataclass(frozen=True, slots=True)
class PlainTemplate:
    """A text with places, as of `--tagstring`, where arguments stand as they are."""

    parts: tuple[str | Place, ...]

    @property
    def has_places(self) -> bool:
        """Whether there is any."""
        return len(self.parts) > 1

    def render(self, arguments: tuple[str, ...], seq: int, slot: int) -> str:
        """Return the text with the arguments in it."""
        return "".join(
            part if isinstance(part, str) else " ".join(number_or_values(part, arguments, seq, slot))
            for part in self.parts
        )


def number_or_values(place: Place, arguments: tuple[str, ...], seq: int, slot: int | None) -> list[str]:
    """Return the texts that a place stands for."""
    if place.is_argument:
        return place.values(arguments, seq, slot)
    if place.what == "total":
        return [place.text]
    return [str(seq) if place.what == "seq" else "{%}" if slot is None else str(slot)]


@lru_cache(maxsize=8)
def _pattern(places: Placeholders) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted(places.names, key=len, reverse=True) if name)
    forms = f"{_FORMS}|{_MORE_FORMS}" if places.plus else _FORMS
    signs = "##|#|%" if places.plus else "#|%"
    inside = rf"(?:(?P<sign>{signs})|(?:(?P<group>-?[1-9][0-9]*)|(?P<name>{names or '(?!)'}))?(?P<form>{forms})?)"
    if places.replacement == "{}":
        return re.compile(rf"\{{{inside}\}}")
    return re.compile(rf"{re.escape(places.replacement)}|(?!\{{\}})\{{{inside}\}}")


def _check_pattern(place: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise TemplateError(f"{place}: not a regular expression: {error}") from None


def _expression(text: str, at: int) -> tuple[Place, int]:
    """Read an expression up to the first brace with which it is one."""
    start = end = at + len("{py:")
    while (end := text.find("}", end)) >= 0:
        code = text[start:end].strip()
        try:
            _compiled(code)
        except (SyntaxError, ValueError):
            end += 1
            continue
        return Place("argument", None, "py:", code), end + 1
    shown = text[at : text.find("}", at) + 1 or None]
    raise TemplateError(f"{shown} at character {at + 1} is not an expression in Python; write {{py: _.upper()}}")


@lru_cache(maxsize=64)
def _compiled(code: str) -> Any:
    return compile(code, "{py: }", "eval")


def _evaluated(code: str, argument: str, arguments: tuple[str, ...], seq: int, slot: int | None) -> str:
    names = {"_": argument, "args": arguments, "seq": seq, "slot": slot, "os": os, "re": re}
    try:
        return str(eval(_compiled(code), names))  # noqa: S307 - the user's own expression; arguments are data to it
    except (Exception, SystemExit) as error:
        why = f"{type_name(type(error))}: {cut(text_of(error), SHOWN)}"
        raise TemplateError(f"{{py: {code}}} failed for {describe(argument)}: {why}") from None


def formed(argument: str, form: str, text: str = "") -> str:
    """Return an argument as a form of place shows it."""
    if form in {"", ":-"}:
        return argument or text
    if form[0] in "%#":
        return _without(argument, form, text)
    if form.startswith("+"):
        return _only(argument, form[1:])
    if form == "//":
        folder = argument.rstrip("/").rpartition("/")[0].rstrip("/")
        return folder or ("/" if argument.startswith("/") else ".")
    if form.startswith("/"):
        argument, form = argument.rpartition("/")[2], form[1:]
    return _ENDINGS[form].sub("", argument) if form else argument


def _only(argument: str, form: str) -> str:
    """Return the folder, or that many extensions, without the dot before them."""
    if form == "/":
        return argument.rpartition("/")[0]
    found = _ENDINGS[form].search(argument)
    return found[0][1:] if found else ""


def _without(argument: str, form: str, text: str) -> str:
    """Return an argument without the shortest, or longest, end or beginning that matches."""
    pattern, size = re.compile(text), len(argument)
    ends = form[0] == "%"
    cuts = range(size + 1) if (form in {"%%", "#"}) else range(size, -1, -1)
    for at in cuts:
        if pattern.fullmatch(argument, *((at, size) if ends else (0, at))):
            return argument[:at] if ends else argument[at:]
    return argument


def counted(place: Place, total: int) -> Place:
    """Return the place with the number of all commands, where it stands for that."""
    return replace(place, text=str(total)) if place.what == "total" else place
