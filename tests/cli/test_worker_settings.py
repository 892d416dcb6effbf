"""--finish and --threads-per-worker, of the real command."""

from support.scripts import run


def test_finish_and_threads(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os, pathlib\n"
        "def threads(line): return os.environ.get('OMP_NUM_THREADS')\n"
        "def last(): pathlib.Path('finished').open('a').write('once\\n')\n"
        "def fails(): raise ValueError('not tidy')\n"
    )
    (tmp_path / "in.txt").write_text("a\nb\n")
    command = ["-m", "orchestrator", "run", "-q", "mine:threads", "in.txt", "-j", "2"]
    done = run([*command, "--threads-per-worker", "3", "--finish", "mine:last"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "3\n3\n"), done.stderr
    assert set((tmp_path / "finished").read_text().split()) == {"once"}
    failed = run([*command, "--finish", "mine:fails"], cwd=tmp_path)
    assert "the finalizer failed in worker" in failed.stderr
    assert "Traceback" not in failed.stderr
    for flags in (["--finish", "mine:missing"], ["--threads-per-worker", "x"]):
        wrong = run([*command, *flags], cwd=tmp_path)
        assert wrong.returncode == 2
        assert flags[0] in wrong.stderr
        assert "Traceback" not in wrong.stderr
    dry = run([*command, "--dry-run", "--threads-per-worker", "3", "--finish", "mine:last"], cwd=tmp_path)
    assert "3 threads a worker" in dry.stdout + dry.stderr
    commands = run(
        ["-m", "orchestrator", "exec", "echo ${OMP_NUM_THREADS:-none}; : {}", "--threads-per-worker", "2", ":::", "1"], cwd=tmp_path
    )
    assert commands.stdout == "2\n", commands.stderr
