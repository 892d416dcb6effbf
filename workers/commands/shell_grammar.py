"""Finds a command line's places by the shell's grammar, and refuses unsafe ones.

Pure.

The line is read as `dash` and `bash` read it (POSIX.1-2017, Shell Command Language, 2.2 to 2.10): words, quotes,
expansions, comments, here-documents, `case` patterns. It is read, never changed.

An argument is refused where the shell would read its text again, and where shells differ in what they read:

    `...`   ${...}   $((...))   ((...))   $[...]   $'...'   here-documents   words that a command runs as code

(`workers/commands/shell_code.py` knows those words.) Numbers that are ours, {#} and {%}, may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from workers.commands.placeholders import BARE, DIGITS, DOUBLE, SINGLE, Place, Placeholders, TemplateError
from workers.commands.shell_code import ASSIGNMENT, Word, refused_word

_OPERATORS = (";;&", ";;", ";&", "&&", "||", "|&", ";", "&", "|", "\n")
_REDIRECTIONS = ("<<<", "<<-", "<<", "<>", "<&", ">>", ">&", ">|", "<", ">")
_BEFORE_COMMANDS = frozenset({
    "!", "{", "}", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "time", "coproc", "esac",
})  # fmt: skip
_ENDS_WORD = frozenset(" \t\n;&|<>()")


@dataclass(frozen=True, slots=True)
class Where:
    """Where a place stands in the line, from `start` to `end`."""

    start: int
    end: int
    place: Place



@dataclass(slots=True)
class _Commands:
    """The state of reading one list of commands.

    `$(` and `(` begin another one.
    """

    words: list[Word] = field(default_factory=list)
    """Of the simple command that is being read, without assignments and redirections."""
    names_command: bool = True
    """Whether the next word would be the name of a command, or a reserved word."""
    is_redirected: bool = False
    """Whether the next word is the target of a redirection."""
    cases: list[str] = field(default_factory=list)
    """The `case`s around, each waiting for its "subject", for "in", for a "pattern", or in a "body"."""

    @property
    def in_pattern(self) -> bool:
        return bool(self.cases) and self.cases[-1] == "pattern"


class ShellPlaces:
    """Reads one command line."""

    def __init__(self, text: str, places: Placeholders) -> None:
        self.words: list[tuple[int, int]] = []
        """Where the innermost words with places in them begin and end."""
        self.ends_with_command_name = False
        """Whether the last place is a whole word that names a command."""
        self._text = text
        self._places = places
        self._at = 0
        self._found: list[Where] = []
        self._refused = ""
        """What stands around that no argument may stand in; "": nothing."""
        self._documents: list[tuple[str, bool]] = []
        """The here-documents that begin behind this line: how each ends, and whether tabs before that don't count."""

    def find(self) -> list[Where]:
        """Return the places in their order.

        Raises:
            TemplateError: a quote or bracket is not closed, or an argument stands where something could run it.
        """
        self._commands("")
        return self._found

    # ---- commands and words -----------------------------------------------------------------------------------------

    def _commands(self, closing: str) -> None:  # noqa: C901 - the kinds of words, one after the other
        """Read commands up to the closing bracket, or to the end."""
        state = _Commands()
        while self._at < len(self._text):
            char = self._text[self._at]
            if blank := self._sees(" ", "\t", "\\\n"):
                self._at += len(blank)
            elif self._places.match(self._text, self._at):  # what -I names may look like a comment or an operator
                self._take(state, self._word())
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char == "(":
                self._open_bracket(state)
            elif char == ")":
                if self._close_bracket(state) and closing:
                    return
            elif operator := self._sees(*_OPERATORS):
                self._operator(state, operator)
            elif char in "<>" and not self._sees("<(", ">("):
                self._redirection(state)
            else:
                self._take(state, self._word())
        self._end_command(state)
        if closing:
            raise self._not_closed()

    def _close_bracket(self, state: _Commands) -> bool:
        """Skip a bracket, and return whether it ends the list of commands, not a pattern."""
        self._at += 1
        self._end_command(state)
        if state.in_pattern:
            state.cases[-1] = "body"
            return False
        return True

    def _open_bracket(self, state: _Commands) -> None:
        if state.in_pattern and not state.words:
            self._at += 1
        elif self._sees("(("):
            self._at += 2
            self._arithmetic("((…))")
        else:
            self._at += 1
            self._commands(")")
        self._end_command(state)

    def _operator(self, state: _Commands, operator: str) -> None:
        self._at += len(operator)
        if not (state.in_pattern and operator in {"|", "\n"}):
            self._end_command(state)
            if operator.startswith((";;", ";&")) and state.cases:
                state.cases[-1] = "pattern"
        if operator == "\n":
            self._skip_documents()

    def _end_command(self, state: _Commands) -> None:
        refused = refused_word(state.words)
        if refused is not None:
            raise self._refusal(*refused)
        state.words, state.names_command, state.is_redirected = [], True, False

    def _take(self, state: _Commands, word: Word) -> None:
        """Put a word where it belongs."""
        step = state.cases[-1] if state.cases else ""
        if word.text.isdecimal() and self._sees("<", ">"):
            pass  # the number of a descriptor that is redirected
        elif state.is_redirected:
            state.is_redirected = False
        elif step in {"subject", "in", "pattern"}:
            self._of_case(state, word, step)
        elif state.names_command and word.is_plain("case"):
            state.cases.append("subject")
        elif state.names_command and word.is_plain("esac") and state.cases:
            state.cases.pop()
        elif not (state.names_command and not word.is_quoted and word.text in _BEFORE_COMMANDS):
            self._of_command(state, word)

    def _of_case(self, state: _Commands, word: Word, step: str) -> None:
        if step == "subject":
            state.cases[-1] = "in"
        elif step == "in":
            state.cases[-1] = "pattern"
        elif word.is_plain("esac") and not state.words:
            state.cases.pop()
        else:
            state.words = [Word("")]  # none of a command; it tells that the pattern has begun

    def _of_command(self, state: _Commands, word: Word) -> None:
        assigned = ASSIGNMENT.match(word.text) if state.names_command else None
        if assigned:
            if word.first_place is not None and "{}" in (assigned["index"] or assigned["key"] or ""):
                raise self._refusal(word.first_place, "an array index, which the shell evaluates")
            return
        self.ends_with_command_name = state.names_command and word.text == "{}"
        state.words.append(word)
        state.names_command = False

    def _redirection(self, state: _Commands) -> None:
        operator = self._sees(*_REDIRECTIONS)
        self._at += len(operator)
        if operator not in {"<<", "<<-"}:
            state.is_redirected = True
            return
        while self._sees(" ", "\t"):
            self._at += 1
        start = self._at
        with self._refusing("the name that ends a here-document"):
            word = self._word()
        if "$" in word.text or "`" in self._text[start : self._at]:
            raise TemplateError(f"the here-document that ends with {self._text[start : self._at]} is not understood")
        self._documents.append((word.text, operator == "<<-"))

    def _skip_documents(self) -> None:
        """Skip the bodies of the here-documents whose line has ended."""
        for ends_with, without_tabs in self._documents:
            line = ""
            while self._at < len(self._text):
                start = self._at
                end = self._text.find("\n", start)
                self._at = len(self._text) if end < 0 else end + 1
                goes_on = (len(line) - len(line.rstrip("\\"))) % 2
                line = self._text[start:end] if end >= 0 else self._text[start:]
                if not goes_on and (line.lstrip("\t") if without_tabs else line) == ends_with:
                    break
                with self._refusing("a here-document"):
                    at = 0
                    while found := self._places.search(line, at):
                        at = found[2]
                        self._at_place(start + found[0], BARE)
        self._documents.clear()

    def _word(self) -> Word:
        """Read a word with all its quotes and expansions."""
        word, start, found = Word(""), self._at, len(self._found)
        while self._at < len(self._text):
            char = self._text[self._at]
            if self._at == start and self._sees("<(", ">("):
                self._at += 2
                self._commands(")")
            elif char in _ENDS_WORD and not self._places.match(self._text, self._at):
                break
            else:
                word.text += self._piece(char)
                word.is_quoted |= char in "\\'\""
        word.first_place = next((where.start for where in self._found[found:] if where.place.is_argument), None)
        self.words += [(start, self._at)] if len(self._found) > found else []
        return word

    def _piece(self, char: str) -> str:
        """Read a part of a word, and return it unquoted, "{}" for a place, "$" for an expansion."""
        if self._at_place(self._at, BARE):
            return "{}"
        if char == "'":
            return self._single_quotes()
        if char == '"':
            self._at += 1
            return self._double_quotes()
        if char == "\\":
            self._at += 2
            escaped = self._text[self._at - 1 : self._at]
            return "" if escaped == "\n" else escaped
        return self._expansion(char, quoted=False)

    # ---- quotes ---------------------------------------------------------------------------------------------------

    def _single_quotes(self) -> str:
        self._at += 1
        text = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if self._at_place(self._at, SINGLE):
                text += "{}"
                continue
            self._at += 1
            if char == "'":
                return text
            text += char
        raise self._not_closed()

    def _double_quotes(self) -> str:
        text = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if self._at_place(self._at, DOUBLE):
                text += "{}"
            elif char == '"':
                self._at += 1
                return text
            elif char == "\\":
                text += self._text[self._at + 1 : self._at + 2]
                self._at += 2
            else:
                text += self._expansion(char, quoted=True)
        raise self._not_closed()

    # ---- expansions -------------------------------------------------------------------------------------------------

    def _expansion(self, char: str, *, quoted: bool) -> str:
        """Read an expansion or a single "$", and return its text if that is known, else "$"."""
        if char == "`":
            self._at += 1
            self._until("`", "backticks; write $(…) instead")
        elif self._sees("$(("):
            self._at += 3
            self._arithmetic("an arithmetic expansion $((…))")
        elif self._sees("$("):
            self._at += 2
            self._commands(")")
        elif self._sees("${"):
            start = self._at
            self._parameter(quoted=quoted)
            return self._text[start : self._at]
        elif self._sees("$["):
            self._at += 2
            self._until("]", "an arithmetic expansion $[…]", is_closed=False)
        elif self._sees("$'") and not quoted:
            self._dollar_quotes()
        else:
            self._at += 1
            return char
        return "$"

    def _parameter(self, *, quoted: bool) -> None:
        if self._places.match(self._text, self._at + 1):
            raise self._refusal(self._at + 1, "${…}, which the shell expands; write the placeholder without the $")
        self._at += 2
        with self._refusing("a parameter expansion ${…}"):
            while self._at < len(self._text):
                char = self._text[self._at]
                if char == "}":
                    self._at += 1
                    return
                if char == "'" and quoted:
                    raise self._differs("a single quote inside double-quoted ${…}", self._at)
                self._piece(char)
        raise self._not_closed()

    def _arithmetic(self, what: str) -> None:
        """Read up to the two brackets that close it."""
        depth = 2
        with self._refusing(what):
            while self._at < len(self._text):
                char = self._text[self._at]
                if self._at_place(self._at, BARE):
                    continue
                if char in "'\"\\":
                    self._at += 1
                    continue
                self._expansion(char, quoted=True)
                depth += {"(": 1, ")": -1}.get(char, 0)
                if depth == 0:
                    if self._text[self._at - 2] == ")":
                        return
                    raise TemplateError(f"{what} is not closed by )); commands in brackets need a blank: $( (…) )")
        raise self._not_closed()

    def _dollar_quotes(self) -> None:
        start, end = self._at, self._text.find("'", self._at + 2)
        if end < 0:
            raise self._not_closed()
        inside = self._text[start + 2 : end]
        if "\\" in inside or self._places.search(inside):
            raise self._differs("$'…'", start)
        self._at = end + 1

    def _until(self, closing: str, what: str, *, is_closed: bool = True) -> None:
        """Skip to a character that isn't escaped."""
        with self._refusing(what):
            while self._at < len(self._text):
                if self._at_place(self._at, BARE):
                    continue
                char = self._text[self._at]
                self._at += 2 if char == "\\" else 1
                if char == closing:
                    return
        if is_closed:
            raise self._not_closed()

    # ---- places -----------------------------------------------------------------------------------------------------

    def _at_place(self, at: int, within: str) -> bool:
        """Step over a place, if there is one, and note it."""
        if self._text.startswith("{=", at):
            raise TemplateError("{= … =} would be Perl; write {py: _.upper()}, in Python, with _ for the argument")
        found = self._places.match(self._text, at)
        if found is None:
            return False
        place, end = found
        if place.is_argument and self._refused:
            raise self._refusal(at, self._refused)
        self._found.append(Where(at, end, replace(place, within=DIGITS if self._refused else within)))
        self._at = max(self._at, end)
        return True

    @contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        before, self._refused = self._refused, self._refused or what
        yield
        self._refused = before

    def _refusal(self, at: int, what: str) -> TemplateError:
        found = self._places.match(self._text, at)
        place = self._text[at : found[1]] if found else "a place"
        return TemplateError(
            f"{place} at character {at + 1} of the command is inside {what}, where an argument could run as code. "
            f'Put it in a variable first (x={place}; … "$x"), or pass it as a separate argument'
        )

    def _differs(self, what: str, at: int) -> TemplateError:
        return TemplateError(f"{what} at character {at + 1} of the command means different things in different shells")

    def _sees(self, *texts: str) -> str:
        """Return the first of these that stands here, or ""."""
        return next((text for text in texts if self._text.startswith(text, self._at)), "")

    def _not_closed(self) -> TemplateError:
        return TemplateError("the command has an unclosed quote or bracket")
