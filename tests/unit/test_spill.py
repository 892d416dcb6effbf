"""Results on their way to a file: what the worker writes, without a process."""

import os

import pytest

from workers.functions.fused import FusedRunner
from workers.functions.lazy import FailedLazily
from workers.functions.runner import CallSpec
from workers.functions.spill import Extent, Spill
from workers.functions.steps import Step, Steps


def never():
    return False


def test_a_failed_item_leaves_nothing_in_the_file(tmp_path):
    def breaks():
        yield [1, 2]
        raise LookupError

    path = tmp_path / "file"
    path.touch()
    spill = Spill(lambda: (str(path), ""))
    first = spill.write(iter([[1, 2, 3], [4]]), never)
    with pytest.raises(FailedLazily):
        spill.write(breaks(), never)
    assert path.stat().st_size == first.end
    second = spill.write(iter([[5]]), never)
    assert second.start == first.end
    spill.close()


@pytest.mark.parametrize("why", ["asked in vain", "no device", "full"])
def test_a_full_disk_is_the_items_failure(why, monkeypatch, tmp_path):
    asked = {"asked in vain": ("", "No space left on device"), "no device": ("/no/such", ""), "full": ("/dev/full", "")}
    if why == "full":
        monkeypatch.setattr(os, "pwrite", lambda fd, data, _: os.write(fd, data))
        monkeypatch.setattr(os, "ftruncate", lambda *_: None)
    steps = Steps((Step("first", "flat_map", range),), most_held=10)
    runner = FusedRunner(CallSpec(steps, False, False, False), steps, lambda: asked[why])
    done = runner.run([3, 100, 4], never)
    assert list(map(list, done.by_item(stop=False))) == [[0, 1, 2], [0, 1, 2, 3]]
    ((position, record),) = done.failures
    assert position == 1
    assert "TMPDIR" in record.text


def test_abandoned_it_stops_writing(tmp_path):
    path = tmp_path / "file"
    path.touch()
    spill = Spill(lambda: (str(path), ""))
    assert isinstance(spill.write(iter([[1], [2]]), lambda: True), Extent)
    spill.close()
