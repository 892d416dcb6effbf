"""The progress renderer, on a terminal that is a string and a clock that stands still until told."""

import io
import sys
import threading
import types

import pytest
from tqdm import tqdm

from orchestrator import progress
from orchestrator.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def last_picture(self):
        return self.getvalue().rsplit("\r", 1)[-1]


class Clock:
    def __init__(self):
        self.now = 100.0
        self.readings = 0

    def __call__(self):
        self.readings += 1
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_bar_shows_count_total_and_unit(clock):
    screen = Terminal()
    with Progress(200, unit="rec", desc="clean", file=screen, clock=clock) as bar:
        clock.now += 2
        bar.update(50)
        assert "clean:  25%" in screen.getvalue()
        assert "50/200 [00:02<00:0" in screen.getvalue()


def test_bar_draws_ten_times_a_second_at_most(clock):
    screen = Terminal()
    with Progress(None, file=screen, clock=clock) as bar:
        for _ in range(1000):
            clock.now += 0.001
            bar.update(1)
        assert screen.getvalue().count("\r") <= 12
    assert "1000it" in screen.getvalue()


def test_bytes_are_scaled_by_1024(clock):
    screen = Terminal()
    with Progress(4 * 2**20, unit="B", scale=True, file=screen, clock=clock) as bar:
        clock.now += 1
        bar.update(2**20)
        assert "1.00M/4.00M" in screen.getvalue()


def test_eta_line_tells_remaining_time_and_rate(clock):
    screen = Terminal()
    with Progress(100, desc="clean", style="eta", file=screen, clock=clock) as bar:
        clock.now += 10
        bar.update(25)
        assert "clean: ETA: 00:30 Left: 75 Rate:  2.50it/s Elapsed: 00:10" in screen.getvalue()


def test_eta_without_total_says_that_nobody_knows(clock):
    screen = Terminal()
    with Progress(None, style="eta", file=screen, clock=clock) as bar:
        clock.now += 10
        bar.update(25)
        assert "ETA: ? Left: ?" in screen.getvalue()


def test_each_worker_has_a_bar_and_a_new_one_gets_one_too(clock):
    screen = Terminal()
    with Progress(100, style="workers", file=screen, workers=2, clock=clock) as bar:
        clock.now += 1
        bar.worker(0, 10)
        bar.worker(2, 30)
        clock.now += 1
        bar.update(40)
    for line in ("worker 0: 10 it", "worker 1: 0 it", "worker 2: 30 it", "40/100"):
        assert line in screen.getvalue()


def test_more_workers_than_rows_share_the_last_one(clock):
    screen = Terminal()
    with Progress(None, style="workers", file=screen, workers=500, clock=clock) as bar:
        for worker_id in range(500):
            bar.worker(worker_id, 1)
    assert "worker 21 and up: 479 it" in screen.getvalue()


def test_worker_counts_are_free_where_no_worker_bar_is_shown(clock):
    with Progress(None, file=Terminal(), workers=2, clock=clock) as bar:
        readings = clock.readings
        bar.worker(0, 1)
        assert clock.readings == readings


def test_no_terminal_gets_a_plain_line_every_five_seconds_and_a_last_one(clock):
    screen = io.StringIO()
    with Progress(1000, unit="rec", desc="clean", file=screen, clock=clock) as bar:
        for _ in range(96):
            clock.now += 0.125
            bar.update(1)
    assert "\r" not in screen.getvalue()
    lines = screen.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[-1] == "clean:  10% 96/1000 [00:12<01:53,  8.00rec/s]"


def test_interval_of_the_lines_comes_from_the_environment(clock, monkeypatch):
    monkeypatch.setenv(progress.INTERVAL_VARIABLE, "1")
    screen = io.StringIO()
    with Progress(None, file=screen, clock=clock) as bar:
        for _ in range(4):
            clock.now += 1.01
            bar.update(1)
    assert len(screen.getvalue().splitlines()) == 5


def test_a_nonsense_interval_is_the_default(clock, monkeypatch):
    monkeypatch.setenv(progress.INTERVAL_VARIABLE, "often")
    screen = io.StringIO()
    with Progress(None, file=screen, clock=clock) as bar:
        clock.now += 4.9
        bar.update(1)
        assert screen.getvalue() == ""


@pytest.mark.parametrize("desc", ["{odd}", "a: ", "100% {n}"])
def test_description_is_not_a_format(clock, desc):
    for screen in (Terminal(), io.StringIO()):
        with Progress(10, desc=desc, style="eta", file=screen, clock=clock) as bar:
            bar.update(10)
        assert desc.removesuffix(": ") + ": " in screen.getvalue()


def test_more_than_the_total_is_shown_as_it_is(clock):
    for screen in (Terminal(), io.StringIO()):
        with Progress(10, file=screen, clock=clock) as bar:
            bar.update(12)
        assert "12" in screen.getvalue()


def test_print_goes_above_the_bar_line_by_line(clock, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress(10, clock=clock) as bar:
        bar.write("half a ", stream="stderr")
        assert "half a" not in screen.getvalue()
        bar.write("line\nnext", stream="stderr")
        assert "\rhalf a line\n\r" in screen.getvalue()
        assert "0/10" in screen.last_picture()  # the bar is back below it
    assert "\rnext\n" in screen.getvalue()


def test_print_to_a_stdout_that_is_a_file_leaves_the_bar_alone(clock, monkeypatch):
    screen, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with Progress(10, file=screen, clock=clock) as bar:
        pictures = screen.getvalue().count("\r")
        bar.write("a\nb\n", stream="stdout")
        assert screen.getvalue().count("\r") == pictures
    assert out.getvalue() == "a\nb\n"


def test_an_endless_line_is_let_through_in_pieces(clock, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with Progress(10, file=Terminal(), clock=clock) as bar:
        for _ in range(3):
            bar.write("." * 40_000, stream="stdout")
        assert len(out.getvalue()) > 60_000


def test_closing_again_draws_nothing(clock):
    for screen in (Terminal(), io.StringIO()):
        bar = Progress(10, file=screen, clock=clock)
        bar.update(10)
        bar.close()
        final = screen.getvalue()
        bar.close()
        clock.now += 100
        bar.update(1)
        assert screen.getvalue() == final
        assert "10/10" in final


def test_a_stderr_that_is_gone_does_not_end_the_run(clock):
    screen = io.StringIO()
    bar = Progress(10, file=screen, clock=clock)
    screen.close()
    clock.now += 10
    bar.update(5)
    bar.close()


def test_no_thread_is_started_and_tqdm_is_left_as_it_was(clock):
    threads, interval = threading.active_count(), tqdm.monitor_interval
    with Progress(10, file=Terminal(), clock=clock) as bar:
        bar.update(1)
        assert threading.active_count() == threads
    assert tqdm.monitor_interval == interval


def test_notebook_without_ipywidgets_falls_back_to_text(clock, monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    for name in [name for name in sys.modules if name.startswith(("tqdm.auto", "tqdm.notebook"))]:
        monkeypatch.delitem(sys.modules, name)
    with Progress(10, clock=clock) as bar:
        bar.update(10)
    assert "10/10" in screen.getvalue()
