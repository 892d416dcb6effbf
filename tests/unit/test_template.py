"""Placeholders in a command line: what is put in, and that the shell gives it back as it was."""

import os
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.commands.template import TemplateError, bare_commands, parse


def render(text, *arguments, seq=1, slot=None):
    return parse(text).render(arguments, seq, slot)


@pytest.mark.parametrize(
    ("argument", "forms"),
    [  # {.} {/} {//} {/.}, all as seen with GNU parallel 20221122
        ("/a/b.c/d.tar.gz", ("/a/b.c/d.tar", "d.tar.gz", "/a/b.c", "d.tar")),
        ("x.y", ("x", "x.y", ".", "x")),
        ("/q", ("/q", "q", "/", "q")),
        ("plain", ("plain", "plain", ".", "plain")),
        ("./r/", ("./r/", "''", ".", "''")),
        ("a.b/c", ("a.b/c", "c", "a.b", "c")),
        (".bashrc", ("''", ".bashrc", ".", "''")),
        ("a.b.", ("a.b", "a.b.", ".", "a.b")),
        ("a/b/", ("a/b/", "''", "a", "''")),
        ("a//b", ("a//b", "b", "a", "b")),
        ("//", ("//", "''", "/", "''")),
        ("..", (".", "..", ".", ".")),
    ],
)
def test_forms_of_an_argument(argument, forms):
    for form, expected in zip(("{.}", "{/}", "{//}", "{/.}"), forms, strict=True):
        assert render(f"x {form}", argument) == f"x {expected}"


def test_groups_numbers_and_what_is_no_place():
    assert render("{2}-{1} {-1.} {}", "a/b", "c.d") == "c.d-a/b c a/b c.d"
    assert render("{#}:{%} {}", "a", seq=7, slot=2) == "7:2 a"
    assert render("{#}:{%}", "a") == "1:{%}"
    assert render("echo -n", "a b") == "echo -n 'a b'"  # none: it goes to the end
    assert render(r"awk {print} {1..3} {0} ${x} \{}", "a") == r"awk {print} {1..3} {0} ${x} \{} a"
    assert render("true # it's {}\nshow {}", "a") == "true # it's {}\nshow a"
    assert bare_commands().render(("echo a", "| wc"), 1, 1) == "echo a | wc"
    assert parse("{3} {-4.}").groups == 4
    assert parse("x {%}").names_slot
    assert not parse("x {#}").names_slot


@pytest.mark.parametrize("text", ["", "  ", "echo '{}", 'echo "{}', "(cd {}", "echo {= s/a/b/ =}"])
def test_a_command_that_cannot_be_used(text):
    with pytest.raises(TemplateError):
        parse(text)


CONTEXTS = (
    "show {}",
    "show '{}'",
    'show "{}"',
    """show 'a'"{}"'b'""",
    """show "$(printf %s. {})" """,
    """show "$(printf %s. "{}")" """,
    """show "$(printf %s. '{}')" """,
    """(show it\\'s; show {})""",
    """true # don't\nshow {}""",
    """: "\\"" '"' ; show {}""",
    """x=1; show $((x + 1)) {}""",
)
SHOW = "show() { for each; do printf '%s\\0' \"$each\"; done; }; "


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20))
@example("$(touch /tmp/no) `id` \\ ' \" \\' \\\" ! * ~ ; & | < > ( ) { } # \n \\n \t -n")
@example("'")
@example("a\\")
@example("")
@example(os.fsdecode(b"\xff\xfe"))
def test_an_argument_comes_through_the_shell_as_it_was(argument):
    """In every context in which it may stand, as it is run and as it is shown; one shell runs all of them."""
    template = parse(SHOW + "\n".join(CONTEXTS))
    shown = subprocess.run(["/bin/sh", "-c", os.fsencode(template.render((argument,), 1, 1))], capture_output=True, check=True)
    done = subprocess.run(template.argv((argument,), 1, 1), capture_output=True, check=True)
    assert shown.stdout == done.stdout
    plain = os.fsencode(argument)
    inside = plain + b"."
    expected = [plain, plain, plain, b"a" + plain + b"b", inside, inside, inside, b"it's", plain, plain, plain, b"2", plain]
    assert done.stdout.split(b"\0")[:-1] == expected
    assert done.stderr == b""
