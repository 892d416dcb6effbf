"""Finds the words that a command itself runs as code: `eval`, `sh -c`, `trap`, `ssh`.

Pure.

Such a word is read by a shell a second time, so an argument in it can't be made safe by quoting it once. Programs in
other languages (`python -c`, `awk`) get their text as it is; what they do with it is their own affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ASSIGNMENT = re.compile(r"(?:[A-Za-z_]\w*(?P<index>\[.*?\])?|(?P<key>\[.*?\]))\+?=", re.ASCII)
_NAMED = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_OPEN_INDEX = re.compile(r"[A-Za-z_]\w*\[", re.ASCII)
_OWN_SHELL = re.compile(r"\$\{?(SHELL|BASH)\}?\Z")

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh", "rbash"})
_RUN_ALL = frozenset({
    "eval", "trap", "alias", "let", "unset", "read", "getopts", "mapfile", "readarray", "bind", "complete", "fc",
    "watch", "parallel",
})  # fmt: skip
"""All that these get is code, or, for bash, the name of a variable with an index that it computes."""
_RUN_OPTION_C = frozenset({"su", "runuser", "script", "flock", "sg"})
_DECLARE = frozenset({"declare", "typeset", "local", "export", "readonly"})
_COMPUTES = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge"})
_IN_FRONT = frozenset({
    "command", "builtin", "exec", "env", "nohup", "time", "sudo", "doas", "nice", "ionice", "setsid", "stdbuf",
    "timeout", "xargs", "busybox",
})  # fmt: skip
_SSH_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
_OPTION_C = re.compile(r"[-+][A-Za-z]*c[A-Za-z]*\Z")


@dataclass(slots=True)
class Word:
    """A word of a command."""

    text: str
    """Without its quotes; "{}" stands for a place, "$" for an expansion."""
    is_quoted: bool = False
    first_place: int | None = None
    """Where in the line the first argument in it stands; None: there is none."""

    def is_plain(self, reserved: str) -> bool:
        """Whether it is this reserved word."""
        return self.text == reserved and not self.is_quoted

    @property
    def program(self) -> str:
        """The name of the program that it would be, without its folder."""
        return self.text.rpartition("/")[2]


def refused_word(words: list[Word]) -> tuple[int, str] | None:
    """Return where an argument stands in a word that is run as code, and what would run it, or None."""
    return next(((word.first_place, runs) for word, runs in _code_words(words) if word.first_place is not None), None)


def _code_words(words: list[Word]) -> list[tuple[Word, str]]:
    """Return the words that a builtin or program runs as code, and its name."""
    found: list[tuple[Word, str]] = []
    for at, word in enumerate(words):
        name, rest = word.program, words[at + 1 :]
        if name in _SHELLS or _OWN_SHELL.match(word.text):
            found += [(code, f"the text that `{name} -c` runs") for code in _of_shell(rest)]
        elif name == "ssh":
            found += [(code, "the command line that `ssh` runs remotely") for code in _of_ssh(rest)]
        elif name in _RUN_OPTION_C:
            found += [(code, f"the text that `{name} -c` runs") for code in _after_c(rest)]
    heads = [at for at, word in enumerate(words) if word.program not in _IN_FRONT and not (at and word.text[:1] == "-")]
    if heads:
        head, rest = words[heads[0]], words[heads[0] + 1 :]
        found += [(code, f"what `{head.text.partition('[')[0]}` runs or computes") for code in _of_builtin(head, rest)]
    return found


def _of_shell(rest: list[Word]) -> list[Word]:
    """Return the operand of -c."""
    has_c, skips = False, False
    for word in rest:
        if skips:
            skips = False
        elif word.text.startswith(("-", "+")) and len(word.text) > 1:
            has_c |= bool(_OPTION_C.match(word.text))
            skips = word.text in {"-o", "+o", "-O", "+O", "--rcfile", "--init-file"}
        else:
            return [word] if has_c else []
    return []


def _of_ssh(rest: list[Word]) -> list[Word]:
    """Return all words behind the name of the host."""
    at = 0
    while at < len(rest) and rest[at].text.startswith("-"):
        at += 2 if rest[at].text[-1] in _SSH_WITH_VALUE and len(rest[at].text) == 2 else 1
    return rest[at + 1 :]


def _after_c(rest: list[Word]) -> list[Word]:
    before = ["", *(word.text for word in rest)]
    return [
        word
        for left, word in zip(before, rest, strict=False)
        if left == "--command" or _OPTION_C.match(left) or word.text.startswith("--command=")
    ]


def _of_builtin(name: Word, rest: list[Word]) -> list[Word]:
    """Return the operands that a builtin of the shell evaluates."""
    if name.text in _RUN_ALL or _OPEN_INDEX.match(name.text):
        return [name, *rest]
    if name.text in _DECLARE:
        computes = any(word.text.startswith("-") and set(word.text) & set("in") for word in rest)
        return [word for word in rest if computes or not _NAMED.match(word.text)]
    # Behind && in [[ … ]] another command seems to begin; but only in `test` a number that is none is an error.
    computing = frozenset() if name.text in {"test", "["} else _COMPUTES
    naming = {"-v"} if name.text in {"printf", "test", "[", "[[", "-v"} else set()
    line = [name, *rest]
    before, after = [None, *line], [*line[1:], None]
    return [
        word
        for left, word, right in zip(before, line, after, strict=False)
        if (left and left.text in naming | computing) or (right and right.text in computing)
    ]
