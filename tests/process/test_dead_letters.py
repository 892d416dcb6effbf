"""Items given up on, kept and run again: through the pool, in streams, job files, and with checkpoints."""

import os
import sys
import time
from pathlib import Path

import pytest

from orchestrator import ConfigError, ItemError, Pool, Stream, Workflow, read_dead_letters, run


def troubled(x):
    if x == 3:
        raise ValueError("no good")
    if x == 5:
        os._exit(7)
    if x == 7:
        time.sleep(60)
    return x


def hates_six(x):
    if x == 6:
        raise KeyError(x)
    return x


def twice(x):
    return x * 2


def test_every_way_to_fail_has_its_letter_and_the_items_run_again(tmp_path):
    path = tmp_path / "letters"
    given = []
    with Pool(2, max_deaths=2) as pool:
        options = {"timeout": 0.8, "on_error": "skip", "retries": {ValueError: 2}}
        assert list(pool.map(troubled, range(10), dead_letters=path, **options)) == [0, 1, 2, 4, 6, 8, 9]
        steps = Workflow("w").step("double", twice).step("check", hates_six)
        list(pool.map(steps, range(4), on_error="return", dead_letters=given.append))
        three, five, seven = read_dead_letters(path)
        again = (each.item for each in read_dead_letters(path))
        assert list(pool.map(twice, again)) == [6, 10, 14]
        letters = read_dead_letters(path)
        with path.open("ab") as file:
            file.write(path.read_bytes())
        assert len(list(letters)) == 3
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(ItemError):  # the one that ends the run has a letter too
            list(pool.map(hates_six, [6], dead_letters=path))
    assert (three.index, three.error) == (3, ("ValueError", "no good"))
    assert three.attempts >= 3  # more, if it went down with the worker of another
    assert "in troubled" in three.traceback
    assert three.function.endswith("test_dead_letters.troubled")
    assert (five.index, five.error.type, five.exitcode) == (5, "WorkerDiedError", 7)
    assert five.attempts >= 2
    assert five.pid > 0
    assert (seven.index, seven.error.type) == (7, "ItemTimeoutError")
    (six,) = given
    assert (six.item, six.step, six.workflow) == (3, "check", "w")
    assert [each.item for each in read_dead_letters(path)] == [3, 5, 7, 6]


def test_letters_that_can_not_be_written_stop_before_anything_starts_or_end_the_run(tmp_path):
    with pytest.raises(ConfigError, match="can't write dead letters"):
        Stream([1]).map(twice, dead_letters=tmp_path)
    with Pool(1) as pool:
        with pytest.raises(ConfigError, match="can't write dead letters"):
            pool.map(twice, [1], dead_letters=tmp_path / "no" / "letters")
        with pytest.raises(ZeroDivisionError):
            list(pool.map(hates_six, [6], on_error="skip", dead_letters=lambda letter: 1 / 0))
        end = Stream([6]).map(hates_six, on_error="skip", dead_letters=print).to(str(tmp_path / "out"))
        with pytest.raises(ConfigError, match="can't be rolled back on resume"):
            run(end, pool=pool, checkpoint=tmp_path / "ckpt")
        with pytest.raises(Exception, match="dead letters /dev/full: No space left on device"):
            list(pool.map(hates_six, [1, 6, 2], on_error="skip", dead_letters="/dev/full"))
        with pytest.raises(ConfigError, match=r"out is already an output; write the dead letters to a file"):
            run(Stream([6]).map(hates_six, dead_letters=tmp_path / "out").to(str(tmp_path / "out")), pool=pool)
        assert list(pool.map(twice, [1])) == [2]


def hates_tens(x):
    if x % 10 == 0:
        raise KeyError(x)
    return x


def hates_fives(x):
    if x % 5 == 0:
        raise ValueError(x)
    return x


def stumbles(x):
    if x == 47 and not os.path.exists(os.environ["MENDED"]):
        raise LookupError(x)
    return x


@pytest.mark.parametrize("every_s", [0.0, 1e9])  # a checkpoint in every turn; none but the first
def test_a_run_that_is_gone_on_with_has_each_letter_once(tmp_path, monkeypatch, every_s):
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    first, second = tmp_path / "first", tmp_path / "second"

    def go():
        tens = Stream(range(100)).map(hates_tens, chunk=3, on_error="skip", dead_letters=first)
        fives = tens.filter_inline(bool).map(hates_fives, chunk=2, on_error="skip", dead_letters=second)
        end = fives.filter_inline(bool).map(stumbles, chunk=1).to(str(tmp_path / "out"))
        run(end, pool=pool, checkpoint=tmp_path / "ckpt", checkpoint_every_s=every_s)

    with Pool(2) as pool:
        list(pool.map(hates_tens, [70], on_error="skip", dead_letters=first))
        with pytest.raises(ItemError, match="47"):
            go()
        assert len(list(read_dead_letters(second))) > 0
        (tmp_path / "mended").touch()
        go()
    assert [each.item for each in read_dead_letters(first)] == [70, *range(0, 100, 10)]
    assert [(each.index, each.item) for each in read_dead_letters(second)] == [(x * 9 // 10, x) for x in range(5, 100, 10)]
    assert (tmp_path / "out").read_text().split() == [str(x) for x in range(100) if x % 5]


def test_a_job_file_keeps_dead_letters(tmp_path, monkeypatch):
    from orchestrator.jobfile.builder import build
    from orchestrator.jobfile.loader import read_job

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("letters_job.py").write_text(
        "class Flaky(Exception): pass\n"
        "def numbers(): return range(8)\n"
        "def fails(x):\n"
        "    if x % 4 == 1: raise Flaky(x)\n"
        "    return x\n"
    )
    Path("flow.toml").write_text(
        '[source.n]\nitems = "letters_job:numbers"\n'
        '[step.a]\nfrom = "n"\nmap = "letters_job:fails"\non_error = "skip"\ndead_letters = "dead"\n'
        '[step.a.retries]\n"letters_job:Flaky" = 2\nTimeoutError = 1\n'
        '[step.b]\nfrom = "a"\nmap = "letters_job:fails"\ndead_letters = "dead"\n'
        '[sink.out]\nfrom = "b"\nwrite = "out"\n'
    )
    with Pool(1) as pool:
        run(*build(read_job("flow.toml"), Stream), pool=pool)
    assert [(each.item, each.attempts) for each in read_dead_letters("dead")] == [(1, 3), (5, 3)]
    text = Path("flow.toml").read_text()
    for was, becomes, said in [
        ('write = "out"', 'write = "dead"', "dead is also written by"),
        ("TimeoutError = 1", "TimoutError = 1", "flow.toml:10: there is no exception 'TimoutError'; did you mean 'TimeoutError'"),
        ("TimeoutError = 1", "TimeoutError = -1", "'TimeoutError' must be a whole number of at least 0, not -1"),
    ]:
        Path("flow.toml").write_text(text.replace(was, becomes))
        with pytest.raises(ConfigError, match=said):
            read_job("flow.toml")
