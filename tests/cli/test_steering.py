"""Signals and files that steer the real command while it runs, and ends while it can't write or has not begun."""

import fcntl
import os
import signal
import struct
import subprocess
import termios

import pytest
from support.waiting import until

from tests.cli.test_ends import DEADLINE_S, assert_ends, read_pids

FIONREAD = termios.FIONREAD


def read_until(stream, *words):
    """Read a pipe until all the words have come."""
    os.set_blocking(stream.fileno(), False)
    found = b""

    def more():
        nonlocal found
        found += stream.read(65536) or b""
        return all(word in found for word in words)

    until(more, DEADLINE_S)
    return found.decode()


@pytest.fixture
def ended(start):
    """Start the command, and see to its end whatever comes."""
    started = []

    def go(*arguments, **options):
        started.append(start(*arguments, stdin=subprocess.DEVNULL, **options))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def gate(folder):
    """What `f.wait` writes its pid to."""
    os.mkfifo(folder / "gate")
    fd = os.open(folder / "gate", os.O_RDWR)
    yield fd
    os.close(fd)


def test_status_and_size_while_it_runs(folder, gate, ended):
    (folder / "in.txt").write_bytes(b"x\n" * 100_000)
    (folder / "size").write_text("1\n")
    process = ended("run", "f:wait", "in.txt", "-o", "out.txt", "-j", "size", "--block", "64K", "--bar")
    (first,) = read_pids(gate, 1)
    process.send_signal(signal.SIGUSR1)
    said = read_until(process.stderr, b"in.txt, bytes 0 to ", b" s\n")
    assert "1 workers wanted" in said
    assert f"worker 0 (pid {first}, ready, " in said
    (folder / "size").write_text("3\n")
    process.send_signal(signal.SIGHUP)
    more = read_pids(gate, 2)
    process.send_signal(signal.SIGUSR1)
    read_until(process.stderr, b"3 workers wanted", b"worker 2 (pid ")
    watches = [os.pidfd_open(pid) for pid in (first, *more)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 143
    for watch in watches:
        assert_ends(watch)


def test_commands_that_run_and_their_number(folder, gate, ended):
    (folder / "size").write_text("1\n")
    process = ended("exec", "echo $$ >gate; exec sleep 600; : {}", "-j", "size", ":::", "one", "two", "three")
    read_pids(gate, 1)
    process.send_signal(signal.SIGUSR1)
    read_until(process.stderr, b"0 commands succeeded", b"exec sleep 600; : one, for ")
    (folder / "size").write_text("2\n")  # found without a signal
    read_pids(gate, 1)
    process.send_signal(signal.SIGUSR1)
    read_until(process.stderr, b"2 workers wanted", b": two, for ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 143


@pytest.mark.parametrize("command", [("run", "--block=64K", "f:upper"), ("exec", "cat {}")])  # a pipe holds 64 KiB
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_ends_though_nobody_reads_its_output_and_says_how_it_is_before(folder, ended, command, number, code):
    (folder / "in.txt").write_bytes(b"some line\n" * 100_000)
    process = ended(*command, "in.txt", "-j", "1")

    def is_full():
        held = struct.unpack("i", fcntl.ioctl(process.stdout, FIONREAD, b"0000"))[0]
        return held >= 65536

    until(is_full, DEADLINE_S)
    process.send_signal(signal.SIGUSR1)
    read_until(process.stderr, b"; 1 workers wanted", b"worker 0 (pid ")
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_ends_though_the_function_is_being_imported(folder, gate, ended, number, code):
    (folder / "in.txt").write_bytes(b"x\n")
    (folder / "slow.py").write_text("import f\nf.wait('')\n")
    process = ended("run", "slow:same", "in.txt", "-o", "out.txt")
    assert read_pids(gate, 1) == [process.pid]
    process.send_signal(signal.SIGUSR1)
    read_until(process.stderr, b"starting; no worker is ready yet")
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == code
