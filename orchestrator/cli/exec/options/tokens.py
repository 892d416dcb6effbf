"""Reads the words of a command line by the table of options, once, from the left to the right. Pure.

-k -j4 -kj4 -j 4 --jobs 4 --jobs=4 --jo 4      an option that takes a value takes the next word, whatever it is
--                                             what follows is none of our options
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from orchestrator.cli.exec.arguments.sources import Markers
from orchestrator.cli.exec.options.table import ELSEWHERE, Option, known
from orchestrator.cli.flags.parsing import did_you_mean
from orchestrator.errors import ConfigError

_SEE = " (see `orchestrator exec --help`)"


@dataclass(slots=True)
class Tokens:
    """What the words of a command line are."""

    values: dict[str, Any] = field(default_factory=dict)
    """What the options set."""
    words: list[str] = field(default_factory=list)
    """What is no option, up to the first marker."""
    is_command: bool = False
    """Whether the words are the command, all of them."""
    inputs: list[str] = field(default_factory=list)
    """From the first marker on."""
    left: int = 0
    """How many words are left to read."""

    @property
    def markers(self) -> Markers:
        """The words before groups of arguments, as the options so far say."""
        return Markers(self.values.get("arg_sep", ":::"), self.values.get("arg_file_sep", "::::"))


class Reader:
    """Reads one command line."""

    def __init__(self, argv: Sequence[str], is_command: Callable[[Tokens, list[str]], bool]) -> None:
        """Take the words.

        `is_command(tokens, rest)` is asked at the first word that is no option, with all words from there up to the
        first marker: whether they are the command, its own options among them.
        """
        self._argv = list(argv)
        self._at = 0
        self._known = known()
        self._is_command = is_command
        self._tokens = Tokens()

    def read(self) -> Tokens:
        """Return what the words are.

        Raises:
            ConfigError: an option is not known, or its value is missing.
        """
        tokens, options = self._tokens, True
        while self._at < len(self._argv):
            word = self._argv[self._at]
            if word in tokens.markers.all:
                tokens.inputs = self._argv[self._at :]
                break
            self._at += 1
            if options and word == "--":
                options = False
            elif options and len(word) > 1 and word.startswith("-"):
                self._option(word)
            elif not tokens.words and self._is_command(tokens, rest := self._up_to_marker()):
                tokens.words, tokens.is_command = rest, True
                self._at += len(rest) - 1
            else:
                tokens.words.append(word)
        return tokens

    def _up_to_marker(self) -> list[str]:
        rest = self._argv[self._at - 1 :]
        self._tokens.left = len(rest)
        end = next((at for at, word in enumerate(rest) if word in self._tokens.markers.all), len(rest))
        return rest[:end]

    def _option(self, word: str) -> None:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = self._long(name)
            if option.value is None and equals:
                raise ConfigError(f"{name} takes no value, and was given {value!r}{_SEE}")
            self._set(option, name, value if equals else None)
            return
        if len(word) > 2 and f"-{word.partition('=')[0]}" in self._known:
            name = word.partition("=")[0]
            raise ConfigError(f"unknown option {name}; did you mean -{name}?{_SEE}")
        rest = word[1:]
        while rest:
            option = self._known.get(f"-{rest[0]}") or self._unknown(word if rest == word[1:] else f"-{rest[0]}")
            name, rest = f"-{rest[0]}", rest[1:]
            if option.value is not None:
                self._set(option, name, rest or None)
                return
            self._set(option, name, None)

    def _long(self, name: str) -> Option:
        if name in self._known:
            return self._known[name]
        begun = {option.setting: option for known, option in self._known.items() if known.startswith(name)}
        if len(begun) == 1 and name not in ELSEWHERE:
            return next(iter(begun.values()))
        if len(begun) > 1 and name not in ELSEWHERE:
            *others, last = sorted(each for each in self._known if each.startswith(name))
            raise ConfigError(f"unknown option {name}; did you mean {', '.join(others)} or {last}?{_SEE}")
        return self._unknown(name)

    def _unknown(self, name: str) -> NoReturn:
        name = name.partition("=")[0]
        instead = ELSEWHERE.get(name) or (ELSEWHERE.get(name[:2]) if not name.startswith("--") else None)
        if instead:
            raise ConfigError(f"{name} is not supported: {instead}{_SEE}")
        raise ConfigError(f"unknown option {name}{did_you_mean(name, self._known)}{_SEE}")

    def _set(self, option: Option, name: str, value: str | None) -> None:
        found: Any = value
        if option.value is None:
            found = option.sets
        elif value is None and option.may_lack is not None:
            found = option.may_lack
        elif value is None:
            if self._at >= len(self._argv) or self._argv[self._at] in self._known:
                raise ConfigError(f"argument {name}: expected one argument{_SEE}")
            found = self._argv[self._at]
            self._at += 1
        values = self._tokens.values
        if option.gathers:
            found = [*values.get(option.setting, ()), found]
        values[option.setting] = found
