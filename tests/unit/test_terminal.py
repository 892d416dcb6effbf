"""No control sequence reaches a terminal, whatever file names, prints and error texts hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine.terminal import for_stream, visible

SEQUENCES = {
    "\x1b[31mred\x1b[0m": "red",
    "\x1b[2J\x1b[H": "",
    "\x1b[?1049h": "",
    "\x9b2J": "",
    "\x1b]0;title\x07name": "name",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\": "link",
    "\x1bP+q544e\x1b\\": "",
    "\x1bc": "",
    "\x1b(0": "",
    "\x1b7\x1b8": "",
    "bell\x07": "bell\\x07",
    "over\rwritten": "over\\x0dwritten",
    "back\x08space": "back\\x08space",
    "\u202etxt.exe": "\\u202etxt.exe",
    "\udc9b2J": "\\x9b2J",
    "\x1b": "\\x1b",
    "\x1b]0;no end": "\\x1b]0;no end",
    "\x1b[31\x1b[0mm": "\\x1b[31m",
}
PLAIN = ("", "a", "Grüße, 世界 🎉 e\u0301", "two\nlines\tand a tab", "שלום", "\u2028")
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


@pytest.mark.parametrize("text", SEQUENCES)
def test_sequences_go_and_what_is_left_of_them_is_seen(text):
    assert visible(text) == SEQUENCES[text]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text):
    assert visible(text) == text


@given(st.lists(st.sampled_from([*SEQUENCES, *PLAIN, "\x1b", "[", "]", ";", "m", "\x9d", "\\", "\r\n"]) | st.text(max_size=3)))
def test_nothing_that_a_terminal_obeys_is_left_in_any_text(pieces):
    text = "".join(pieces)
    found = visible(text)
    assert FORBIDDEN.search(found) is None
    assert visible(found) == found
    found.encode()


class Stream:
    def __init__(self, terminal):
        self.isatty = lambda: terminal


def test_a_file_gets_what_was_printed_and_a_terminal_what_can_be_read():
    text = "one\r\ntwo\rthree \x1b[1mfour\x1b[0m\n"
    assert for_stream(text, Stream(False)) == text
    assert for_stream(text, object()) == text
    assert for_stream(text, Stream(True)) == "one\ntwo\nthree four\n"
