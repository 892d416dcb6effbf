"""An argument never becomes code: hostile names in every kind of place, the true argv compared, in every shell.

The oracle of an accepted command line is the shell itself: the same line with a harmless name written into it. With a
hostile name the program must see just that name where it saw the harmless one.
"""

import os
import random
import shutil
import subprocess

import pytest
from support.seed import SEED

from workers.commands.template import Placeholders, TemplateError, parse

NAMES = int(os.environ.get("CHAOS_NAMES", "30"))
LINES = int(os.environ.get("CHAOS_LINES", "30"))
SHELLS = [shell for shell in (["dash"], ["bash"], ["bash", "--posix"]) if shutil.which(shell[0])]
HARMLESS = "Harmless"
SHOW = """exec 3>&1 >/dev/null; show() { printf '%s\\0' "$@" >&3; }
"""
BITS = [
    "$(touch pwned)", "`touch pwned`", "${x:-$(touch pwned)}", "$((a[$(touch pwned)]))", "a[$(touch pwned)]", "$x", "$1", "$@", "$'\\n'",
    "'", '"', "\\", "\\'", '\\"', "\n", "\t", " ", "\r", ";", "&", "&&", "|", "||", "<", ">", ">pwned", "<<EOF", "EOF", "\nEOF\n", "#", "(", ")", "{",
    "}", "{}", "[", "]", "*", "?", "~", "!", "=", "%", "^", ",", "-n", "--", "x=1", ";;", ")touch pwned;;", "esac", "\ntouch pwned\n", "; touch pwned;",
    "'; touch pwned; '", '"; touch pwned; "', "')touch pwned", "touch", "pwned", "if", "done", "eval", "é", "\udcff\udcfe", "\x01", "\x7f", "/", ".", "a", "0",
]  # fmt: skip
PLACES = {
    "bare": "show {}",
    "inside a word": "show a{}b",
    "several": "show {}{} {} x{}",
    "single quotes": "show '{}'",
    "double quotes": 'show "{}"',
    "quotes of all kinds": """show 'a'"{}"'{}'{}""",
    "beside escapes": r"""show \"{}\' "\"{}\\" \\{}""",
    "an assignment": 'x={}; show "$x"',
    "an exported one": 'export x={}; show "$x"',
    "before a command": "x={} show {}",
    "$()": """x=$(show {}; printf %s. '{}'); show "$x" """,
    '"$()"': """show "$(printf %s. {})" """,
    '"$("")"': """show "$(printf %s. "{}" '{}')" """,
    "deeper": """show "$(printf %s. "$(printf %s. {})")" """,
    "a subshell": "(show {})",
    "a group": "{ show {}; }",
    "case": "case {} in never) ;; *) show {};; esac",
    "a pattern": "case {} in ({}) show {};; *) show no;; esac",
    "patterns": """case {} in never|"{}"|'{}') show yes;; esac; case never in {}) show no;; esac""",
    "case in $()": """show "$(case {} in never) show {};; b0|c0) ;; *) printf %s. {};; esac)" """,
    "case in case": "case {} in *) case {} in *) show {};; esac;; esac; show {}",
    "if": "if [ {} = {} ]; then show {}; fi",
    "for": 'for i in {} "{}"; do show "$i"; done',
    "while": "while read -r _; do show {}; done <<X\ny\nX\n show {}",
    "a function": 'f() { show "$1" {} "$#"; }; f "{}"',
    "positional parameters": 'set -- a {} b; show "$@" "$2"; shift; show "$1"',
    "none of ours": 'show "$#" "$@" {}',
    "behind a comment": "true # don't `x\nshow {}",
    "behind a here-document": "cat <<'A' >/dev/null; show {}\n$( ` ' \"\nA\nshow {}",
    "two here-documents": "cat <<A - <<-'B' >/dev/null\nit's\nA\n\t\"\n\tB\nshow {}",
    "a redirection": "echo x 2>/dev/null >./{/.}_; show {}; rm -f ./*_",
    "arithmetic with our number": 'show $(({#} + 1)) "$(( (1) + {#} ))" {}',
    "behind expansions": 'show "${HOME:+x}" ${y:-z} {}',
    "behind backticks": """show `echo "a"` "`echo b`" {}""",
    "the operand of sh -c": """sh -c 'printf "%s\\0" "$1" >&3' sh {}""",
    "the end": "show",
    "in the background": "show {} & wait",
    "without its folder": "show {/} {//} {.} {/.}",
    "a pipe": "printf %s. {} | while read -r x; do :; done; show {}",
}  # fmt: skip
REFUSED = [
    "show `echo {}`", 'show "`echo {}`"', """show "`echo '{}'`" """, "show $(({}))", 'show "$(( {} + 1 ))"', "show $(( $(echo {}) ))", "(( x = {} ))",
    "for ((i={}; i<2; i++)); do show; done", "show $[{}]", "show ${x:-{}}", 'show "${x:-{}}"', "show ${x#{}}", "show ${x:{}}", "show ${x[{}]}",
    "show $'{}'", r"show $'\'' {}", "cat <<E\n{}\nE", "cat <<E\n$(echo {})\nE", "cat <<'E'\n{}\nE", "cat <<-E\n\t{}\n\tE", "sh <<E\necho {}\nE", "$(cat <<E\n{}\nE\n)",
    "case x in x) cat <<E ;;\n{}\nE\nesac", "cat <<{}\nx\n", "eval {}", "eval 'show {}'", 'eval "show {}"', "command eval {}", "builtin eval x {}",
    "sh -c {}", "sh -c 'show {}'", 'bash -c "show {}"', "bash -ec 'show {}' x", "sh -e -c 'show {}'", "bash -o pipefail -c {}", "/bin/sh -c 2>/dev/null {}", "env X=1 sh -c {}",
    "find . -exec sh -c 'show {}' \\;", "xargs -I% sh -c 'show % {}'", "busybox sh -c {}", "sudo -u me bash -lc {}", '"$SHELL" -c {}', "${SHELL} -c {}", "su -c {}", "su me --command 'x {}'",
    "ssh host ls {}", "ssh -p 22 host 'ls {}'", "trap 'rm {}' EXIT", 'trap "rm {}" EXIT', "alias x={}", "a[{}]=1", "a[1 + {}]=1", "a[x=={}]=1", "a=([{}]=1)", "let {}", "let x={}",
    "unset {}", "unset a[{}]", "read {}", "export {}", "export {}=1", "declare -i x={}", "local {}=1", "typeset -n x={}", "printf -v {} x", "test -v {}", "[ -v {} ]", "[[ -v {} ]]",
    "[[ {} -eq 1 ]]", "[[ 1 -lt {} ]]", "[[ a && {} -gt 1 ]]", "[[ a && -v {} ]]", "if x; then eval {}; fi", "x=$(eval {})", 'show "$(eval {})"', "(eval {})", "case {} in *) eval {};; esac",
    "f() { eval {}; }", "a; eval {}", "a && eval {}", "a | sh -c {}", "! eval {}", "X=1 eval {}", ">/dev/null eval {}", "show ${1}", "show ${}", 'show "${1}"', "show <(eval {})",
    "sleep 1;", "sleep 1 &", "true &&", "show # comment", "X=1", "eval", "sh -c", "ssh host", "if true; then", "(show)\n",
]  # fmt: skip


def hostile(chance):
    return "".join(chance.choice(BITS) for _ in range(chance.randint(1, 6)))


def run(shell, argv, folder):
    """Return what the program saw, and the shell's exit value; nothing else may have happened."""
    done = subprocess.run(
        [*shell, *argv[1:]], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert not os.listdir(folder), (argv, done.stderr)
    return done.stdout, done.returncode


def compare(line, names, folder):
    """Hold what comes of a line with these names against what comes of it with a harmless one, written into it."""
    template = parse(SHOW + line)
    plain = template.render((HARMLESS,), 7, 1)
    for shell in SHELLS:
        expected, code = run(shell, ["sh", "-c", plain], folder)
        for name in names:
            wanted = expected
            if "{/" not in line and "{." not in line:
                wanted = expected.replace(HARMLESS.encode(), os.fsencode(name))
            else:
                forms = [parse("x " + form).argv((name,), 7, 1)[-1] for form in ("{/}", "{//}", "{.}", "{/.}")]
                wanted = b"".join(form + b"\0" for form in forms) if "{.}" in line else os.fsencode(name) + b"\0"
            assert run(shell, template.argv((name,), 7, 1), folder) == (wanted, code), (shell, line, name)


def test_a_name_arrives_as_it_is_in_every_kind_of_place(tmp_path):
    """All kinds in one run of the shell, for each of many names."""
    chance = random.Random(SEED)
    names = [hostile(chance) for _ in range(NAMES)]
    several = {kind: line for kind, line in PLACES.items() if kind not in {"without its folder", "the end", "none of ours", "a redirection"}}
    together = "\n".join(f"( {line}\n)" for line in several.values())
    compare(together, names, tmp_path)
    for kind in PLACES.keys() - several:
        compare(PLACES[kind], names[: NAMES // 10], tmp_path)


NEW_PLACES = {
    "show {:-x} {+/} {1:-x} '{..}'": (Placeholders(plus=True), lambda name: [name or "x", name.rpartition("/")[0], name or "x", None]),
    "show {x} '{x}' \"{x}\" a{x}b": (Placeholders(names=("x",)), lambda name: [name, name, name, f"a{name}b"]),
    "show {py: _} '{py: _ + \"}\"}' {py: len(args)}": (Placeholders(), lambda name: [name, name + "}", "1"]),
    "show ,, x',,' {}": (Placeholders(",,"), lambda name: [name, "x" + name, "{}"]),
}


@pytest.mark.parametrize("line", NEW_PLACES)
def test_a_name_arrives_as_it_is_in_the_places_that_options_add(line, tmp_path):
    chance = random.Random(SEED)
    places, wanted = NEW_PLACES[line]
    template, repeated = parse(SHOW + line, places), parse(SHOW + "show a{}b {1}", repeats=True)
    for name in [hostile(chance) for _ in range(NAMES // 3)]:
        for shell in SHELLS:
            seen, code = run(shell, template.argv((name,), 7, 1), tmp_path)
            found = seen.split(b"\0")[:-1]
            assert len(found) == len(wanted(name))
            for each, expected in zip(found, wanted(name), strict=True):
                assert expected is None or each == os.fsencode(expected), (shell, line, name)
            both = run(shell, repeated.argv((name, "x"), 7, 1), tmp_path)
            assert both == (b"\0".join([os.fsencode(f"a{name}b"), b"axb", os.fsencode(name), b""]), code)


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_made_safe_is_refused(line):
    with pytest.raises(TemplateError):
        parse(line)


def random_line(chance, depth=3):
    """A random command in the shell's grammar, with places wherever an argument may stand."""
    if depth == 0:
        return "show " + " ".join(random_word(chance) for _ in range(chance.randint(1, 3)))

    def line():
        return random_line(chance, depth - 1)

    def word():
        return random_word(chance)

    return chance.choice([
        lambda: f"{line()}; {line()}",
        lambda: f"{line()} && {line()}",
        lambda: f"if [ {word()} = {word()} ]; then {line()}; else {line()}\nfi",
        lambda: f'for i in {word()} {word()}; do show "$i"; {line()}; done',
        lambda: f"( {line()} )",
        lambda: f"{{ {line()}\n}}",
        lambda: f'x=$({line()}); show "$x"',
        lambda: f'show "$({line()}; printf %s. {word()})"',
        lambda: f"case {word()} in\n (b|{word()}) {line()};; {word()} | 'c)' ) {line()} ;; *) {line()}\nesac",
        lambda: f'f() {{ show "$1" "$#"; }}; f {word()} {word()}',
        lambda: f"true # it's `a $(( \"\n{line()}",
        lambda: f"cat <<'E' >/dev/null\n$( ` '\nE\n{line()}",
        lambda: f"cat <<E >/dev/null && show {word()}\nit's )\nE\n{line()}",
        lambda: f'set -- {word()}; show "$1"',
        lambda: f"{line()} | cat; wait",
        line, line,
    ])()  # fmt: skip


def random_word(chance):
    return "".join(
        chance.choice([
            "{}", "'{}'", '"{}"', '"a {} b"', "'a {} b'", "\\'", '\\"', "\\\\", '"\'"', "'\"'", '"\\""', "x", "=", '"$(printf %s. {})"', '"$(printf %s. "{}")"',
            "\"$(printf %s. '{}')\"", '"$(case {} in never) ;; *) printf %s. {};; esac)"', "$((1+(2)))", '"`echo x`"', "${z:-y}", "\\\n", "#", '"$( (printf %s. {}) )"',
        ])
        for _ in range(chance.randint(1, 3))
    ) + "x"  # fmt: skip


def test_random_lines_give_the_shells_own_answer(tmp_path):
    refused = 0
    for number in range(LINES):
        chance = random.Random(SEED * 100_003 + number)
        line = "z= ; " + random_line(chance)
        try:
            compare(line, [hostile(chance) for _ in range(2)], tmp_path)
        except TemplateError:  # the newline of one part begins the here-document of another
            refused += 1
    assert refused < LINES / 2  # most run
