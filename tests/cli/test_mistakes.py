"""A mistake is one line on stderr and exit code 2, and nothing was started or written."""


import os

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no command given"),
        (["rum"], "unknown command 'rum'; did you mean run?"),
        (["run"], "required: TARGET, INPUT"),
        (["run", "f:upper"], "required: INPUT"),
        (["run", "f:upper", "in.txt", "--nope"], "unknown option --nope"),
        (["run", "f:upper", "gone.txt"], "can't read gone.txt: No such file or directory"),
        (["run", "f:upper", "*.gone"], "no file matches *.gone"),
        (["run", "f:upper", "."], "is a folder"),
        (["run", "f:upper", "-", "-"], "only once"),
        (["run", "f:uper", "in.txt"], "did you mean 'upper'?"),
        (["run", "g:upper", "in.txt"], "no module 'g'"),
        (["run", "g.py:upper", "in.txt"], "no file"),
        (["run", "broken:f", "in.txt"], "ZeroDivisionError"),
        (["run", "f", "in.txt"], "does not name a function"),
        (["run", "f:upper", "in.txt", "-o", "gone/out"], "there is no folder"),
        (["run", "f:upper", "in.txt", "-o", "in.txt"], "one of the inputs"),
        (["run", "f:upper", "in.txt", "sub/in.txt", "-o", "out/"], "would both be written to out/in.txt"),
        (["run", "f:upper", "sub/in.txt", "-o", "sub/"], "one of the inputs"),
        (["run", "f:upper", "in.txt", "-j", "0"], "-j 0"),
        (["run", "f:upper", "in.txt", "-j", "many"], "invalid number of workers: 'many', and no file has that name"),
        (["run", "f:upper", "in.txt", "-j", "in.txt"], "-j in.txt: invalid number of workers: 'a'"),
        (["run", "f:upper", "in.txt", "-j", "auto:3-2"], "use auto, auto:8 or auto:2-8"),
        (["run", "f:upper", "in.txt", "--block", "big"], "invalid size"),
        (["run", "f:upper", "in.txt", "--buffer", "0"], "more than 0"),
        (["run", "f:upper", "in.txt", "--chunk", "0"], "not '0'"),
        (["run", "f:upper", "in.txt", "--chunk", "5", "--block", "1M"], "give only one of them"),
        (["run", "f:upper", "in.txt", "--chunk", "5", "--format", "blocks"], "--block"),
        (["run", "f:upper", "in.txt", "--format", "xml"], "there is no format 'xml'"),
        (["run", "f:upper", "in.txt", "--joblog", "gone/log"], "can't write the job log"),
        (["run", "f:upper", "-", "--format", "files", "-o", "sub/"], "can't be written to a folder"),
    ],
)
def test_mistakes(folder, command, arguments, said):
    (folder / "in.txt").write_text("a\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "in.txt").write_text("a\n")
    (folder / "broken.py").write_text("1 / 0\n")
    before = sorted(os.listdir(folder))
    done = command(*arguments, code=2)
    assert said in done.stderr
    assert done.stderr.startswith("orchestrator: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == b""
    assert sorted(os.listdir(folder)) == before


def test_help_and_version(command):
    assert command("--version").stdout.startswith(b"orchestrator ")
    assert b"run" in command("--help").stdout
    shown = command("run", "--help").stdout.decode()
    for said in ("TARGET", "--unordered", "examples:", "logs/*.jsonl.gz", "130"):
        assert said in shown
