"""Ways in which a run ends before its end: signals, readers that leave, full disks."""


import os
import select
import signal
import subprocess

import pytest
from support.waiting import until

DEADLINE_S = 60


def read_pids(gate, count):
    """Read as many pids as `count` from a named pipe that workers write to."""
    found = b""
    while found.count(b"\n") < count:
        assert select.select([gate], [], [], DEADLINE_S)[0], "the workers didn't start"
        found += os.read(gate, 4096)
    return [int(pid) for pid in found.split()]


def assert_ends(watch):
    """Wait until the process behind a pidfd has ended."""
    assert select.select([watch], [], [], DEADLINE_S)[0], "the worker didn't end"
    os.close(watch)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_the_workers_and_leave_no_partial_file(folder, start, number, code):
    (folder / "in.txt").write_bytes(b"x\n" * 100_000)
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    process = start(
        "run", "f:wait", "in.txt", "-o", "out.txt", "-j", "2", "--block", "64K", "--joblog", "log", stdin=subprocess.DEVNULL
    )
    try:
        watches = [os.pidfd_open(pid) for pid in read_pids(gate, 2)]
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert b"Traceback" not in err
    assert b"nothing was written to out.txt" in err
    for watch in watches:
        assert_ends(watch)
    os.close(gate)
    assert sorted(set(os.listdir(folder)) - {"__pycache__"}) == ["f.py", "gate", "in.txt", "log"]
    _, *lines = [line.split("\t") for line in (folder / "log").read_text().splitlines()]
    assert sorted((line[0], *line[4:]) for line in lines) == [
        ("1", "65536", "0", "0", "9", "f:wait in.txt:0+65536"),
        ("2", "65536", "0", "0", "9", "f:wait in.txt:65536+65536"),
    ]


def test_a_reader_that_leaves_ends_the_run_quietly(folder, start):
    (folder / "in.txt").write_bytes(b"some line\n" * 400_000)
    process = start("run", "f:upper", "in.txt", "-q", stdin=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"SOME LINE\n"
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert err == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_line(folder, command):
    (folder / "in.txt").write_text("a\n")
    done = command("run", "f:upper", "in.txt", "-o", "/dev/full", code=1)
    assert "can't write /dev/full: No space left on device" in done.stderr


def test_a_slow_producer_sees_its_lines_come_back_one_by_one(start):
    """Each line is answered before the next is sent: waiting for a full block would never answer."""
    process = start("run", "f:upper", "-", "-q", stdin=subprocess.PIPE)
    try:
        for line in (b"one\n", b"two\n", b"three\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "no answer"
            assert process.stdout.readline() == line.upper()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, out, err) == (0, b"", b"")
    finally:
        process.kill()
        process.wait()


ENDS = [
    (signal.SIGINT, 130, b"orchestrator: interrupted\n"),
    (signal.SIGTERM, 143, b"orchestrator: stopped by SIGTERM\n"),
    (signal.SIGHUP, 129, b"orchestrator: stopped by SIGHUP\n"),
]


WAITS = "import time\nopen('here', 'w').close()\nwhile True:\n"
"""Of short waits: a signal that comes just before a system call blocks is handled when that has ended."""


@pytest.mark.parametrize("ours", ["", "argparse"])
@pytest.mark.parametrize("arguments", [("run", "slow:f", "in.txt"), ("job", "job.toml", "--check")], ids=lambda words: words[0])
@pytest.mark.parametrize(("number", "code", "said"), ENDS)
def test_while_modules_are_imported_it_is_one_line(folder, start, environment, arguments, ours, number, code, said):
    """In the middle of an `exec` of text, too, which has Python end by SIGINT though the exception was caught."""
    waits = f"{WAITS}    time.sleep(0.01)\n"
    (folder / "slow.py").write_text(f"exec({waits!r})\n" if not ours else "")
    if ours:  # a module that our own code imports
        (folder / "shim").mkdir()
        (folder / "shim" / f"{ours}.py").write_text(waits)
        environment["PYTHONPATH"] = f"{folder / 'shim'}{os.pathsep}{environment['PYTHONPATH']}"
    (folder / "in.txt").write_text("a\n")
    (folder / "job.toml").write_text(
        '[source.s]\nread = "in.txt"\n[step.t]\nfrom = "s"\nmap = "slow:f"\n[sink.u]\nfrom = "t"\nwrite = "out"\n'
    )
    process = start(*arguments, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: (folder / "here").exists() or process.poll() is not None)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (code, b"", said)


LOST = """
import os, signal
try:
    os.kill(os.getpid(), signal.{})
except BaseException:
    pass
f = str.upper
"""


@pytest.mark.parametrize("name", ["slow", "argparse"])
@pytest.mark.parametrize(("number", "code", "said"), ENDS)
def test_a_signal_ends_it_though_a_module_catches_what_is_raised(folder, command, environment, name, number, code, said):
    """As do callbacks of the import system itself, which ignore what is raised in them."""
    if name == "argparse" and number == signal.SIGINT:
        pytest.skip("Python's own handler is in force while our modules are imported")
    (folder / "slow.py").write_text("f = str.upper\n")
    (folder / "shim").mkdir()
    environment["PYTHONPATH"] = f"{folder / 'shim'}{os.pathsep}{environment['PYTHONPATH']}"
    (folder / ("shim" if name == "argparse" else ".") / f"{name}.py").write_text(LOST.format(number.name))
    (folder / "in.txt").write_text("a\n")
    done = command("run", "slow:f", "in.txt", "-o", "out", code=code)
    assert (done.stderr, (folder / "out").exists()) == (said.decode(), False)


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(folder, start):
    (folder / "in.txt").write_bytes(b"x\n")
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    process = start("run", "f:wait", "in.txt", "-j", "1", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    try:
        read_pids(gate, 1)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        assert b"1 workers wanted" in process.stderr.readline()  # it goes on
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    os.close(gate)
    assert process.returncode == 143, err


@pytest.mark.parametrize("signals", [(signal.SIGKILL,), (signal.SIGINT, signal.SIGINT)], ids=str)
def test_an_end_at_once_leaves_no_report_and_nothing_in_the_temporary_folder(folder, start, environment, signals):
    (folder / "tmp").mkdir()
    environment["TMPDIR"] = str(folder / "tmp")
    (folder / "in.txt").write_bytes(b"x\n" * 100_000)
    os.mkfifo(folder / "gate")
    gate = os.open(folder / "gate", os.O_RDWR)
    process = start("run", "f:wait", "in.txt", "-o", "out/", "-j", "2", "--block", "64K", "--report", "report.json",
                    stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        watches = [os.pidfd_open(pid) for pid in read_pids(gate, 2)]
        for number in signals:
            process.send_signal(number)
        process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    for watch in watches:
        assert_ends(watch)
    os.close(gate)
    assert os.listdir(folder / "tmp") == []
    assert [name for name in os.listdir(folder) if "part" in name] == []
