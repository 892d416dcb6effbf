"""Whoever misspells an option, a command, a key or a name is told which one is meant."""

import importlib

import pytest
from support.contract import PARSERS

import orchestrator
from orchestrator import ConfigError, Pool, ResourcePool, Stream
from orchestrator.cli import run_command_line
from orchestrator.settings import exception_class
from workers.errors.nearest import nearest

NEEDED = {"run": ["f:f", "in.txt"], "exec": ["echo {}", "a"], "job": ["job.toml"]}


def parser_of(command):
    module, maker = PARSERS[command]
    return getattr(importlib.import_module(module), maker)()


def options():
    for command in PARSERS:
        for option in parser_of(command)._option_string_actions:
            if len(option) > 4:
                yield command, option


def misspelt(option):
    """Give a word each for ways in which people get an option wrong; none is the beginning of an option."""
    name = option[2:]
    at = len(name) // 2
    yield f"--{name[:at]}{name[at + 1 :]}"
    yield f"--{name[:at]}{name[at]}{name[at:]}"
    yield f"--{name[: at - 1]}{name[at]}{name[at - 1]}{name[at + 1 :]}"
    yield f"--{name}x=5"
    yield option.upper()
    yield f"-{name}"
    if "-" in name:
        yield f"--{name.replace('-', '_')}"
        yield f"--{name.replace('-', '')}"


@pytest.mark.parametrize(("command", "option"), list(options()))
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_an_option(command, option, behind, capsys):
    known = parser_of(command)._option_string_actions
    for word in misspelt(option):
        if any(each.startswith(word.partition("=")[0]) for each in known):
            continue
        words = [*NEEDED[command], word] if behind else [word, *NEEDED[command]]
        assert run_command_line([command, *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"orchestrator: unknown option {word.partition('=')[0]}; did you mean --"), said
        assert said.count("\n") == 1
        assert f"orchestrator {command} --help" in said


def test_the_nearest_option_is_the_one_that_was_meant():
    known = [option for command, option in options() if command == "run"]
    wrong = [(word, option) for option in known for word in misspelt(option) if word not in known]
    found = sum(nearest(word.partition("=")[0], known) == option for word, option in wrong)
    assert found > 0.9 * len(wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum"], "unknown command 'rum'; did you mean run?"),
        (["JOB"], "unknown command 'JOB'; did you mean job?"),
        (["--versoin"], "unknown option --versoin; did you mean --version?"),
        (["-j", "4", "run"], "unknown option -j; options come after the command"),
        (["run", "f:f", "a", "--re"], "unknown option --re; did you mean --retries, --retry-delay, --retry-dead, --report or --resume?"),
        (["run", "f:f", "a", "--re=3"], "unknown option --re; did you mean --retries,"),
        (["run", "f:f", "a", "-J"], "unknown option -J; did you mean -j?"),
        (["run", "f:f", "a", "--workers", "3"], "unknown option --workers; did you mean --jobs?"),
        (["run", "f:f", "a", "--flat=yes"], "--flat takes no value, and was given 'yes'"),
        (["run", "f:f", "a", "--format", "jsonlines"], "there is no format 'jsonlines'; did you mean 'jsonl'?"),
        (["run", "f:f", "a", "--on-error=skpi"], "; did you mean skip?"),
        (["job", "a.toml", "--graph", "mermiad"], "; did you mean mermaid?"),
        (["exec", "echo", "--tga", ":::", "a"], "unknown option --tga; did you mean --tag?"),
    ],
)
def test_words_of_the_command_line(words, said, capsys):
    if words[:2] == ["exec", "echo"]:
        words = ["exec", "--tga", "echo", ":::", "a"]  # behind `echo` it would be echo's own
    assert run_command_line(words) == 2
    assert said in capsys.readouterr().err


def test_what_stands_behind_two_dashes_is_no_option(capsys):
    assert run_command_line(["exec", "--dry-run", "--", "echo {}", "--tga", "-output", "--"]) == 0
    assert capsys.readouterr().out == "echo --tga\necho -output\necho --\n"
    assert run_command_line(["exec", "--dry-run", "echo -n {1}", "--", "-z"]) == 0
    assert capsys.readouterr().out == "echo -n -z\n"
    assert run_command_line(["run", "--", "f:f", "--formt"]) == 2
    assert "can't read --formt" in capsys.readouterr().err


PYTHON = {
    "format of read": (lambda: Stream.read(__file__, format="jsonlines"), "'jsonlines'; did you mean 'jsonl'?"),
    "errors of read": (lambda: Stream.read(__file__, errors="repalce"), "'repalce'; did you mean 'replace'?"),
    "format of to": (lambda: Stream([]).to("x", format="jsnol"), "'jsnol'; did you mean 'jsonl'?"),
    "format of tee": (lambda: Stream([]).tee("x", format="CSV"), "'CSV'; did you mean 'csv'?"),
    "start method": (lambda: Pool(1, start_method="spwan"), "'spwan'; did you mean 'spawn'?"),
    "on_error": (lambda: Stream([]).map(abs, on_error="skpi"), "'skpi'; did you mean 'skip'?"),
    "option": (lambda: Stream([]).map(abs, retires=1), "'retires'; did you mean 'retries'?"),
    "how": (lambda: Stream([]).join(Stream([]), abs, how="outter"), "must be one of inner, "),
    "overflow": (lambda: Stream([]).join(Stream([]), abs, overflow="evcit"), "'evcit'; did you mean 'evict'?"),
    "match": (lambda: Stream([]).route({"a": abs}, match="frist"), "'frist'; did you mean 'first'?"),
    "unknown": (lambda: list(Stream([]).demultiplex(abs, keys=[1], unknown="defualt")[1]), "did you mean 'default'?"),
    "on_failure": (lambda: list(Stream([]).broadcast(1, on_failure="dorp")[0]), "'dorp'; did you mean 'drop'?"),
    "on_error of resources": (lambda: ResourcePool(dict, 1, on_error="kepe"), "'kepe'; did you mean 'keep'?"),
    "exception": (lambda: exception_class("ConectionError"), "did you mean 'ConnectionError'?"),
}


@pytest.mark.parametrize("case", PYTHON)
def test_values_in_python(case):
    wrong, said = PYTHON[case]
    with pytest.raises(ConfigError) as caught:
        wrong()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Stream([]).flatmap, "'Stream' object has no attribute 'flatmap'; did you mean 'flat_map'?"),
        (lambda: orchestrator.Steam, "module 'orchestrator' has no attribute 'Steam'; did you mean 'Stream'?"),
    ],
)
def test_names_in_python(wrong, said):
    with pytest.raises(AttributeError) as caught:
        wrong()
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 10**6, None, 7, [], "ß", "--", "\0"])
def test_nothing_is_near_to_what_is_no_name(name):
    assert nearest(name, ["", "--", "abc"]) in {None, "", "--"}
