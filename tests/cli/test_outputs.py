"""Where `-o` may lead: descriptors, process substitution, FIFOs, files of others, folders with traps."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
from support.waiting import until

from orchestrator import Stream, run

BASH = ["bash", "-c"]
RUN = f"{shlex.quote(sys.executable)} -m orchestrator"
DOUBLED = b"A\nB\nC\n"
COMMANDS = {
    "run": f"{RUN} run f:upper in.txt -j 1 -q",
    "exec": f"{RUN} exec 'echo {{}} | tr a-z A-Z' a b c -j 1 --quiet",
}


@pytest.fixture
def bash(folder, environment):
    """Run a line of the shell to its end, and whatever it has started."""
    (folder / "in.txt").write_bytes(b"a\nb\nc\n")

    def go(line, code=0):
        done = subprocess.run([*BASH, line], cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr.decode()
        return done

    return go


@pytest.mark.parametrize(("command", "name"), [("run", "/dev/stdout"), ("run", "link"), ("exec", "/proc/self/fd/1")])
def test_standard_output_by_any_name_is_standard_output(folder, bash, command, name):
    (folder / "link").symlink_to("/dev/stdout")
    bash(f"{{ echo before; {COMMANDS[command]} -o {name}; echo behind; }} > file")
    assert (folder / "file").read_bytes() == b"before\n" + DOUBLED + b"behind\n"
    bash(f"{COMMANDS[command]} -o {name} | head -n 1 > one")
    assert (folder / "one").read_bytes() == b"A\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_process_substitution_and_open_descriptors_are_written_to_in_place(folder, bash, command):
    bash(f"{COMMANDS[command]} -o >(cat > out; echo done >> out); wait $!")
    assert (folder / "out").read_bytes() == DOUBLED + b"done\n"
    bash(f"exec 7> out; echo before >&7; {COMMANDS[command]} -o /dev/fd/7; echo behind >&7")
    assert (folder / "out").read_bytes() == b"before\n" + DOUBLED + b"behind\n"


def test_a_fifo_is_written_to_and_the_wait_for_its_reader_ends_with_sigterm(folder, bash, start):
    os.mkfifo(folder / "fifo")
    bash(f"{COMMANDS['run']} -o fifo & cat fifo > out; wait $!")
    assert (folder / "out").read_bytes() == DOUBLED
    process = start("run", "f:upper", "in.txt", "-o", "fifo", stdin=subprocess.DEVNULL)
    until(lambda: handles_sigterm(process.pid))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err


def handles_sigterm(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    return int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1


def test_a_job_writes_to_descriptors_and_fifos_too(folder, bash):
    (folder / "job.toml").write_text("""
        [source.lines]
        read = ["in.txt"]
        [step.up]
        from = "lines"
        map_inline = "f:upper"
        [tee.copy]
        from = "up"
        to = ["/dev/fd/7"]
        [sink.all]
        from = "copy"
        write = "fifo"
    """)
    os.mkfifo(folder / "fifo")
    bash(f"exec 7> out; {RUN} job job.toml -q -j 1 & cat fifo > all; wait $!")
    assert (folder / "all").read_bytes() == (folder / "out").read_bytes() == DOUBLED


def test_what_can_not_be_written_to_is_told_before_anything_starts(folder, bash):
    (folder / "sub").mkdir()
    for name, why in {
        "/dev/fd/9": "descriptor 9 is closed",
        "/dev/fd/0": "open only for reading",
        "x" * 256: "File name too long",
        "no/where": "no folder",
    }.items():
        said = bash(f"{COMMANDS['run']} -o {name}", code=2).stderr
        assert why.encode() in said
        assert said.count(b"\n") == 1
    assert sorted(set(os.listdir(folder)) - {"__pycache__"}) == ["f.py", "in.txt", "sub"]


def test_a_name_of_255_bytes_and_the_umask_hold(folder, bash):
    name = "x" * 255
    bash(f"umask 027; {COMMANDS['run']} -o {name}")
    assert (folder / name).read_bytes() == DOUBLED
    assert (folder / name).stat().st_mode & 0o777 == 0o640


def test_whatever_holds_data_is_as_private_as_the_output(folder, bash):
    (folder / "out").touch()
    (folder / "out").chmod(0o600)
    (folder / "bad.py").write_text("def fail(line): raise ValueError(line)")
    beside = "--joblog log --trace trace --report report"
    bash(f"umask 0; {RUN} run bad.py:fail in.txt -o out -j 1 -q --dead-letter dead {beside} --checkpoint kept", code=1)
    names = ["out", "log", "trace", "report", "dead", "kept/journal"]
    assert {name: oct((folder / name).stat().st_mode & 0o777) for name in names} == dict.fromkeys(names, "0o600")
    (folder / "log").chmod(0o644)
    bash(f"umask 0; {RUN} exec false a -o out -j 1 --quiet {beside}", code=1)
    names = ["out", "log", "trace", "report"]
    assert {name: oct((folder / name).stat().st_mode & 0o777) for name in names} == dict.fromkeys(names, "0o600")


def test_dead_letters_of_a_stream_are_as_private_as_its_outputs(tmp_path):
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o600)
    items = Stream(["1", "x"]).map(int, on_error="skip", dead_letters=tmp_path / "dead")
    run(items.tee(tmp_path / "copy").to(tmp_path / "out"))
    assert (tmp_path / "dead").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("Umask"))


@pytest.mark.parametrize("name", ["out part", "log", "dead", "kept/journal"])
def test_files_that_are_taken_away_while_a_run_goes_on_are_noticed(folder, bash, name):
    (folder / "take.py").write_text(f"""
import glob, os
def away(line):
    if line == "50":
        path, = glob.glob(".out.*.part") if {name!r} == "out part" else [{name!r}]
        os.unlink(path)
        open(path, "w").close()
    return 1 // (int(line) % 7)
""")
    (folder / "numbers.txt").write_text("\n".join(map(str, range(100))))
    said = bash(
        f"{RUN} run take.py:away numbers.txt -o out -j 1 -q --chunk 1 --joblog log --dead-letter dead "
        "--checkpoint kept --checkpoint-every 0", code=1,
    ).stderr.decode()  # fmt: skip
    assert "somebody else has" in said
    assert name.removeprefix("out ") in said
    assert "is complete" not in said
    assert not (folder / "out").exists()


def test_a_dash_is_standard_output_for_jobs_and_streams_too(folder, bash):
    (folder / "job.toml").write_text("""
        [source.lines]
        read = ["in.txt"]
        [step.up]
        from = "lines"
        map = "f:say"
        [sink.all]
        from = "up"
        write = "-"
    """)
    done = bash(f"{RUN} job job.toml -q -j 1")
    assert done.stdout == b"a\nb\nc\n"
    assert done.stderr == b"said a\nsaid b\nsaid c\n"
    done = bash(f"{shlex.quote(sys.executable)} -c 'from orchestrator import Stream, run; run(Stream([1, 2]).to(\"-\"))'")
    assert done.stdout == b"1\n2\n"
