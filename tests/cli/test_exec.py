"""The exec command, run for real: what comes out, how it stops, and what it leaves."""

import csv
import fcntl
import json
import os
import re
import select
import signal
import subprocess
import termios
from array import array

import pytest
from support.waiting import is_running, until

from orchestrator.cli import run_command_line
from orchestrator.cli.exec.options.parse import parse_exec
from tests.cli.test_ends import DEADLINE_S, assert_ends, read_pids

COLUMNS = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"


def log_of(folder):
    """The lines of the job log as (seq, receive, exitval, signal, command), in order of seq."""
    head, *lines = (folder / "log").read_text().splitlines()
    assert head == COLUMNS
    fields = [line.split("\t") for line in lines]
    for _, host, started, run, sent, *_ in fields:
        assert (host, sent) == (":", "0")
        assert float(started) > 1e9
        assert float(run) >= 0
    return sorted((int(f[0]), int(f[5]), int(f[6]), int(f[7]), f[8]) for f in fields)


def test_outcomes_of_all_kinds_their_output_and_the_log(folder, command):
    """Commands of one run: good, failing, ended by a signal, too slow with a child, and one that kills its worker."""
    slow = "echo late; sleep 600 & echo $! >child; sleep 600"
    lines = ["echo a; echo warned >&2", "echo b; exit 3", "kill -9 $$", slow, "echo d; kill -9 0", "printf '%s' 'c d'"]
    done = command("exec", "-j2", "--retries", "1", "--timeout", "1.5", "--joblog", "log", "--trace", "trace",
        "--report", "report", ":::", *lines, code=1)  # fmt: skip
    assert done.stdout == b"a\nb\nlate\nd\nc d"
    assert log_of(folder) == [
        (1, 2, 0, 0, lines[0]),
        *[(2, 2, 3, 0, lines[1])] * 2,
        *[(3, 0, 0, 9, lines[2])] * 2,
        *[(4, 5, -1, 15, lines[3])] * 2,
        *[(5, 2, 0, 9, lines[4])] * 6,
        (6, 3, 0, 0, lines[5]),
    ]
    said = done.stderr
    assert said.startswith("warned\n")
    assert "command 2 failed with exit code 3: echo b; exit 3\n" in said
    assert "command 3 was killed by SIGKILL: kill -9 $$\n" in said
    assert "command 4 timed out and was killed: echo late" in said
    assert re.search(r"the worker that ran it \(pid \d+\) was killed by SIGKILL.*not tried again", said)
    assert "6 commands, 2 succeeded, 4 failed, 4 retried; " in said
    assert said.endswith("finished with failures: 4 of 6 commands failed\n")
    report = json.loads((folder / "report").read_text())
    assert report["commands"] == {"succeeded": 2, "failed": 4, "ended": 0, "tried_again": 4}
    assert (report["ended"], report["exit_code"], report["pool"]["deaths"]) == ("with failures", 1, 6)
    events = json.loads((folder / "trace").read_text())
    slices = [event for event in events if event["ph"] == "X"]
    assert sorted((each["args"]["seq"], each["name"]) for each in slices) == [(entry[0], entry[4]) for entry in log_of(folder)]
    assert {each["tid"] for each in slices} == {1, 2}
    marks = [event["name"] for event in events if event["ph"] == "i"]
    for name, count in (("timed out", 2), ("killed by SIGKILL", 8), ("retry, attempt 2", 6)):
        assert marks.count(name) == count, name
    child = int((folder / "child").read_text())
    until(lambda: not is_running(child))


def test_arguments_places_and_large_outputs_in_order(folder, command):
    """The first is the last to end; 100 MB of a command pass through nobody's memory."""
    os.mkfifo(folder / "gate")
    line = "[ {1} = x ] && read _ <gate; head -c {2} /dev/zero | tr '\\0' {1}; echo ' {#} {%}' $(nice) >&2; [ {1} = z ] && : >gate; :"
    done = command("exec", "-j", "2", "--nice", "5", "-o", "out", line, ":::", "x", "y", "z", ":::+", "3", "100000000", "70000")
    with (folder / "out").open("rb") as out:
        assert out.read(3) == b"xxx"
        for expected in (b"y" * 100_000_000, b"z" * 70_000):
            assert out.read(len(expected)) == expected
        assert out.read() == b""
    nice = min(19, os.nice(0) + 5)
    assert re.match(rf" 1 [12] {nice}\n 2 [12] {nice}\n 3 [12] {nice}\n3 commands, 3 succeeded, 0 failed; ", done.stderr)
    assert int(re.search(r"peak memory ([\d,]+) MiB", done.stderr)[1].replace(",", "")) < 150


def test_lines_of_a_pipe_run_as_they_come_and_unordered_ones_pass_on_as_they_end(start):
    process = start("exec", "-j2", "--unordered", "--tag", "--quiet", "echo '<{}>'; [ {} = first ] && sleep 600",
        stdin=subprocess.PIPE)  # fmt: skip
    try:
        process.stdin.write(b"first\n")
        for line in (b"it's", b"$HOME"):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "no answer"
            assert process.stdout.readline() == line + b"\t<" + line + b">\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (143, b"")
    assert err == b"orchestrator: stopped by SIGTERM; 1 running command was killed\n"


def test_ctrl_c_ends_commands_kindly_and_the_stubborn_too(folder, start):
    (folder / "kind.sh").write_text("trap 'echo bye; echo kind >>said; exit 5' TERM; echo $$ >gate; while :; do sleep 0.02; done\n")
    (folder / "stubborn.sh").write_text("trap '' TERM INT; setsid sleep 600 & echo $$ $! >gate; while :; do sleep 0.02; done\n")
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    process = start("exec", "-j2", "-o", "out", "--joblog", "log", "--report", "report", "exec sh {}.sh", "kind", "stubborn", "never",
        stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        watches = [os.pidfd_open(pid) for pid in read_pids(gate, 2)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
        os.close(gate)
    assert process.returncode == 130
    assert err == b"orchestrator: interrupted; 2 running commands were killed; nothing was written to out\n"
    for watch in watches:
        assert_ends(watch)
    assert (folder / "said").read_text() == "kind\n"  # it had the time to tidy up
    assert [entry[:4] for entry in log_of(folder)] == [(1, 4, 0, 15), (2, 0, 0, 9)]
    assert json.loads((folder / "report").read_text())["ended"] == "by SIGINT"
    assert not any(name.startswith((".out", "out")) for name in os.listdir(folder))


def test_nothing_outlives_a_coordinator_that_is_killed(folder, start):
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    process = start("exec", "-j2", "sleep 600 & echo $$ $! >gate; sleep 600; : {}", "a", "b", stdin=subprocess.DEVNULL)
    try:
        watches = [os.pidfd_open(pid) for pid in read_pids(gate, 2)]
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)
        os.close(gate)
    for watch in watches:
        assert_ends(watch)


def test_halt_soon_lets_what_runs_finish_and_resume_failed_runs_the_rest(folder, command):
    """1 waits until 2 is known to have failed; nothing else begins; then all that failed or did not run does."""
    wait = "until grep -q ^2 log; do sleep 0.01; done"
    line = f"echo {{}}; [ -e again ] || case {{}} in 1) {wait};; 2) exit 4;; esac"
    inputs = ["1", "2", "3", "4"]
    done = command("exec", "--quiet", "-j2", "--halt", "soon,fail=1", "--joblog", "log", "-o", "out", line, *inputs, code=3)
    assert (folder / "out").read_text() == "1\n2\n"
    assert "stopped by --halt soon,fail=1: 1 of 4 commands failed; out has the output so far\n" in done.stderr
    assert [(seq, exitval) for seq, _, exitval, *_ in log_of(folder)] == [(1, 0), (2, 4)]
    (folder / "again").touch()
    again = command("exec", "--quiet", "-j2", "--joblog", "log", "--resume-failed", line, *inputs)
    assert (again.stdout, again.stderr) == (b"2\n3\n4\n", "")
    assert [(seq, exitval) for seq, _, exitval, *_ in log_of(folder)] == [(1, 0), (2, 0), (2, 4), (3, 0), (4, 0)]
    refused = command("exec", "--joblog", "log", "--resume", line + " ", *inputs, code=4)
    assert "log belongs to a different run: command 1 was" in refused.stderr


def test_halt_now_ends_what_runs_and_keeps_what_had_ended(folder, command):
    os.mkfifo(folder / "gate")
    line = "echo {}; [ {} = 1 ] && { : >gate; exec sleep 600; }; read _ <gate; exit 0"
    done = command("exec", "-j2", "--halt", "now,success=1", "--joblog", "log", line, "1", "2", "3")
    assert done.stdout == b"2\n"
    assert "stopped by --halt now,success=1: 1 of 3 commands succeeded; 1 running command was killed\n" in done.stderr
    assert [entry[:4] for entry in log_of(folder)] == [(1, 2, 0, 15), (2, 2, 0, 0)]


def in_process(capfdbinary, *arguments):
    code = run_command_line(["exec", *arguments])
    out, err = capfdbinary.readouterr()
    return code, out, err.decode()


def test_a_dry_run_prints_the_commands_and_starts_nothing(capfdbinary):
    assert in_process(capfdbinary, "--dry-run", "gzip -k {}; echo {#}", "a b", "-j2", "c") == (
        0, b"gzip -k 'a b'; echo 1\ngzip -k c; echo 2\n", "",
    )  # fmt: skip
    words = ["--dry-run", "mv", "-v", "{1}", "{2}", ":::", "a", ":::+", "-q"]  # as GNU parallel reads them
    assert in_process(capfdbinary, *words) == (0, b"mv -v a -q\n", "")
    assert in_process(capfdbinary, "--dry-run", "echo {} x", "-j2", ":::", "a") == (0, b"echo a x\n", "")


def test_no_argument_is_ever_run(command, folder):
    """Names that are code in the shell, in places of each kind, through the workers."""
    names = ["`touch hit`", "$(touch hit)", "; touch hit;", "'; touch hit; '", '"; touch hit; "', "a\ntouch hit\n", "x)touch hit;;", "\\", "*", ""]
    line = """printf '<%s>' {} '{}' "{}" "$(echo {}.)" "$(case {} in x) ;; *) echo '{}'.;; esac)"; case {} in {}) echo {};; esac; set -- {}; echo "$1" """
    done = command("exec", "-j2", line, ":::", *names)
    assert done.stdout.decode() == "".join(f"<{n}><{n}><{n}><{n}.><{n}.>{n}\n{n}\n" for n in names)
    assert not (folder / "hit").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["echo {2}", "a"], "uses argument 2, but there is 1 group"),
        (["echo '{}", "a"], "the command has an unclosed quote or bracket"),
        (["echo {= uc =}", "a"], "Perl"),
        (["true; echo `cat {}`", "a"], "{} at character 17 of the command is inside backticks"),
        (["cat <<EOF\n{1}\nEOF", "a"], "{1} at character 11 of the command is inside a here-document"),
        (["sh -c 'cat {}'", "a"], "{} at character 12 of the command is inside the text that `sh -c` runs"),
        (["--dry-run", "eval", "a"], "what `eval` runs or computes"),
        (["sleep 1 &", "a"], "no place for its argument"),
        (["echo", "::::", "gone"], "can't read arguments from gone: No such file"),
        (["echo {}", "a", ":::", "b"], "unexpected 'a' between the command and :::"),
        (["echo", "a", "--halt", "later"], "--halt 'later'"),
        (["echo", "a", "--resume"], "need --joblog FILE"),
        (["echo", "a", "--timeout", "0"], "--timeout must be more than 0"),
        (["echo", "a", "--retries=-1"], "--retries must be a whole number of at least 0"),
        (["echo", "a", "-o", "/gone/out"], "can't write to /gone/out"),
        (["echo", "a", "--joblog", "/gone/log"], "can't write the job log /gone/log"),
        (["echo", "a", "--memfree", "999999T"], "give a smaller size"),
        (["echo", "a", "--bare"], "unknown option --bare"),
        (["--tagstring", "{py:_", "echo", "a"], "is not an expression in Python"),
        (["--wd", "{py:_", "echo", "a"], "is not an expression in Python"),
        (["--results", "{py:_", "echo", "a"], "--results: {py:_ at character 1 is not an expression"),
        (["--dry-run", "echo {py: exit()}", "a"], "failed for 'a': SystemExit"),
        (["-u", "--files", "echo", "a"], "--files keeps what commands write"),
        (["--line-buffer", "--results", "res", "echo", "a"], "--results keeps what commands write"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(capfdbinary, arguments, said):
    code, out, err = in_process(capfdbinary, *arguments)
    assert (code, out) == (2, b"")
    assert err.startswith("orchestrator: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "workers"), [(["a"], 1), (["a", "b", "c"], 3), ([], 1)])
def test_no_more_workers_start_than_there_are_commands(folder, command, arguments, workers):
    command("exec", "-j", "200", "--report", "report", "echo {}", ":::", *arguments)
    assert json.loads((folder / "report").read_text())["pool"]["workers"] == workers


def test_dead_letters_hold_what_failed_and_are_run_again(folder, command):
    line = "echo {1}; echo {2} >&2; [ -e again ] || exit {2}"
    command("exec", "--dead-letter", "dead", line, ":::", "a b", "\udcff", ":::", "0", "3", code=1)
    letters = [json.loads(line)["item"] for line in (folder / "dead").read_text().splitlines()]
    assert sorted((each["arguments"][0], each["stdout"], each["stderr"], each["exitval"]) for each in letters) == [
        ("a b", "a b\n", "3\n", 3), ("\udcff", "\ufffd\n", "3\n", 3),
    ]  # fmt: skip
    (folder / "again").touch()
    again = command("exec", "--retry-dead", "dead", "--quiet", "echo {1}")
    assert sorted(again.stdout.splitlines()) == [b"a b", b"\xff"]
    command("exec", "--retry-dead", "dead", "echo", ":::", "a", code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["echo {py: exit()}"], "can't start the command: {py: exit()} failed for 'a': SystemExit"),
        (["-t", "-v", "echo {py: 1/0}"], "can't start the command: {py: 1/0} failed for 'a': ZeroDivisionError"),
        (["--tagstring", "{py: 1/0}", "echo {}"], "orchestrator: {py: 1/0} failed"),
        (["-X", "echo {py: 1/0}"], "orchestrator: {py: 1/0} failed"),
        (["--tmpdir", "/proc", "echo {}"], "can't write the output of a command to /proc: No such file"),
        (["--line-buffer", "--tmpdir", "/proc", "echo {}"], "can't write the output of a command to /proc: No such file"),
    ],
)  # fmt: skip
def test_what_fails_while_it_runs_is_said_in_lines_of_ours(command, arguments, said):
    done = command("exec", "--quiet", *arguments, ":::", "a", code=1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_result_folder_never_leads_out_of_its_place(folder, command):
    names = ["..", ".", "", "../../x", "a/b", "-n", "a\nb", "{}", "\\", "\udcff"]
    command("exec", "--results", "res", "printf %s {}", ":::", *names)
    found = sorted(path.read_bytes() for path in (folder / "res" / "1").glob("*/stdout"))
    assert found == sorted(map(os.fsencode, names))


@pytest.mark.parametrize("ending", ["csv", "tsv", "json"])
def test_a_table_of_results_has_all_of_each_command(folder, command, ending):
    line = "printf '%s\\n' {x}; echo e >&2; exit 3"
    done = command("exec", "--quiet", "--header", ":", "--results", f"r.{ending}", line, ":::", "x", "a", 'b"c,\t\udcff', code=1)
    assert done.stdout == b""
    with (folder / f"r.{ending}").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        if ending == "json":
            rows = [json.loads(each) for each in file]
            rows = [{**row.pop("V"), **row} for row in rows]
        else:
            rows = list(csv.DictReader(file, delimiter="," if ending == "csv" else "\t"))
    assert set(rows[0]) == {*COLUMNS.split("\t"), "x", "Stdout", "Stderr"}
    found = sorted((row["x"], row["Stdout"], row["Stderr"], int(row["Exitval"])) for row in rows)
    assert found == [("a", "a\n", "e\n", 3), ('b"c,\t\udcff', 'b"c,\t\udcff\n', "e\n", 3)]
    times = [str(row[key]) for row in rows for key in ("Starttime", "JobRuntime")]
    assert ending == "json" or all(re.fullmatch(r"\d+\.\d{3}", each) for each in times)


@pytest.mark.parametrize("option", [(), ("--line-buffer",)], ids=str)
def test_a_command_may_leave_the_rest_of_its_block(command, option):
    done = command("exec", "--quiet", *option, "--pipe", "--block", "10M", "head -c 3", data=b"x" * 3_000_000)
    assert done.stdout == b"xxx"


def test_a_function_of_bash_runs_though_the_shell_is_another(command, environment):
    environment.update({"SHELL": "/bin/sh", "BASH_FUNC_f%%": '() { echo "<$1>"; }'})
    assert command("exec", "--quiet", "f", ":::", "a b").stdout == b"<a b>\n"


def test_a_command_may_be_longer_than_an_argument_of_a_process(command):
    done = command("exec", "--gnu", "printf %s {} | wc -c; :", *["x" * 100_000] * 3, ":::", "é'")
    assert done.stdout == b"3\n"


def test_no_more_workers_than_open_files_allow_under_0(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (80, 80))
    assert parse_exec(["-j0", "true"]).pace.sizing.workers == 10


def test_a_signal_ends_it_though_nobody_reads_the_output(start):
    process = start("exec", "-j1", "head -c 300000 /dev/zero; : {}", ":::", "a", "b", stdin=subprocess.DEVNULL)
    try:
        waiting = array("i", [0])
        until(lambda: not fcntl.ioctl(process.stdout, termios.FIONREAD, waiting) and waiting[0] >= 1 << 16)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 143
    finally:
        process.kill()
        process.communicate()
