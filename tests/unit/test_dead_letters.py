"""Dead letters to lines and back: what was an item is that item again, or it is said why not."""

import errno
import json
import os
import pickle
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigError, OrchestratorError, read_dead_letters
from orchestrator.engine.recovery.dead_letter_sinks import DeadLetterFile, refuse_unwritable
from orchestrator.engine.recovery.dead_letters import NO_ITEM, DeadLetter, ErrorText, Place, dumps


class Point(NamedTuple):
    x: int
    y: int


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.tuples(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.booleans(), inner) | st.tuples(inner),
    max_leaves=8,
)


def letter(item, index=0, **more):
    return DeadLetter(item, index, ErrorText("ValueError", "no good"), **more)


def same(one, other):
    """Equal, and of the same types all the way down; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(map(repr, one)) == list(map(repr, other)) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or repr(one) == repr(other) == "nan"


@given(st.lists(plain, max_size=5))
def test_every_item_comes_back_as_what_it_was(tmp_path_factory, items):
    path = tmp_path_factory.getbasetemp() / "letters"
    path.write_bytes(b"".join(dumps(letter(item, index)) for index, item in enumerate(items)))
    back = list(read_dead_letters(path))
    assert [each.index for each in back] == list(range(len(items)))
    assert all(same(each.item, item) for each, item in zip(back, items, strict=True))


@pytest.mark.parametrize("item", [(1, 2), {1: "a"}, float("nan"), {"a": [b"b"]}, 10**5000, {"$": 1}], ids=type)
def test_what_json_would_change_is_marked_data_and_no_pickle(tmp_path, item):
    line = dumps(letter(item))
    assert json.loads(line)["item_as"] in {"data", "json"}
    (tmp_path / "letters").write_bytes(line)
    (back,) = read_dead_letters(tmp_path / "letters")
    assert not back.is_pickled
    assert same(back.item, item)


def test_an_object_is_pickled_and_opened_only_from_a_file_that_is_ours_alone(tmp_path):
    path = tmp_path / "letters"
    path.write_bytes(dumps(letter(Point(1, 2), 5)))
    path.chmod(0o644)
    (back,) = read_dead_letters(path)
    assert back.is_pickled
    assert back.item == Point(1, 2)
    path.chmod(0o664)
    (back,) = read_dead_letters(path)
    with pytest.raises(ConfigError, match=r"item 5 is pickled.*is writable by others \(mode 664\)"):
        _ = back.item


@pytest.mark.parametrize("item", [None, [], {"a": [1, 2.5, None, True]}, "\udc80 é", 10**20, -0.0])
def test_what_json_can_hold_is_json(item):
    line = json.loads(dumps(letter(item)))
    assert (line["item"], line["item_as"]) == (item, "json")


def test_all_that_is_known_comes_back(tmp_path):
    full = letter(
        [1], 17, traceback="Traceback …", attempts=3, function="m.f", step="parse", workflow="w", worker=2, pid=4711,
        exitcode=-9, time_s=1234.5,
    )  # fmt: skip
    placed = letter(NO_ITEM, 3, place=Place("logs/a.jsonl", 100, 164, 7))
    cyclic = []
    cyclic.append(cyclic)
    path = tmp_path / "letters"
    file = DeadLetterFile(str(path))
    for each in (full, placed, letter(cyclic)):
        file.write(each)
    file.close()
    first, second, third = read_dead_letters(path)
    assert (first, first.signal, str(first.error)) == (full, "SIGKILL", "ValueError: no good")
    assert second.place == placed.place
    kept = third.item
    assert kept[0] is kept
    with pytest.raises(ConfigError, match=r"place in a file.*a\.jsonl"):
        _ = second.item


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("holds a lock")

    def __repr__(self):
        return "<an open connection>"


def test_an_item_that_can_not_be_kept_says_so_when_it_is_asked_for(tmp_path):
    (tmp_path / "letters").write_bytes(dumps(letter(Unpicklable(), 5)))
    (back,) = read_dead_letters(tmp_path / "letters")
    with pytest.raises(ConfigError, match=r"item 5 could not be pickled.*Unpicklable object>"):
        _ = back.item


def test_an_item_whose_class_is_gone_does_not_stand_in_the_way_of_the_others(tmp_path):
    gone = pickle.dumps(Point(1, 2)).replace(b"Point", b"Paint")
    lines = [json.loads(dumps(letter(item, index))) for index, item in enumerate([Point(1, 2), 7])]
    lines[0]["item"] = __import__("base64").b64encode(gone).decode()
    (tmp_path / "letters").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = read_dead_letters(tmp_path / "letters")
    assert second.item == 7
    with pytest.raises(ConfigError, match=r"item 0 can't be loaded here: AttributeError.*be imported"):
        _ = first.item


def test_a_line_that_was_cut_short_is_told_of_and_the_next_letter_begins_a_line(tmp_path):
    path = tmp_path / "letters"
    whole = dumps(letter("one", 1))
    path.write_bytes(whole + dumps(letter("two", 2))[:30])
    file = DeadLetterFile(str(path))
    file.write(letter("three", 3))
    file.write(letter("four", 4))
    file.close()
    with pytest.warns(UserWarning, match="letters:2: incomplete dead letter"):
        assert [each.item for each in read_dead_letters(path)] == ["one", "three", "four"]


@pytest.mark.parametrize("text", ["hello\n", "{}\n", "[1]\n", '{"index": 1}\n', '{"index": 1, "item": 1, "item_as": "xml"}\n'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "letters").write_text(text)
    with pytest.raises(ConfigError, match="letters:1 is not a dead letter"):
        list(read_dead_letters(tmp_path / "letters"))


def test_a_file_that_can_not_be_had(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_dead_letters(tmp_path / "nothing")
    for path, said in [(tmp_path, "Is a directory"), (tmp_path / "no" / "letters", "No such file|no folder")]:
        with pytest.raises(ConfigError, match=f"can't write dead letters to .*({said})"):
            DeadLetterFile(str(path))
        with pytest.raises(ConfigError, match=f"can't write dead letters to .*({said})"):
            refuse_unwritable(path)


def test_a_full_disk_stops_and_leaves_no_half_letter(tmp_path, monkeypatch):
    path = tmp_path / "letters"
    file = DeadLetterFile(str(path))
    file.write(letter("one", 1))
    before = path.read_bytes()
    room = [10]

    def write(fd, data):
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os_write(fd, data[: room.pop()])

    os_write = os.write
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OrchestratorError, match=r"dead letters .*letters: No space left on device; the run stops"):
        file.write(letter("two", 2))
    monkeypatch.undo()
    assert path.read_bytes() == before
    file.close()


def test_a_resumed_run_cuts_off_what_came_behind_its_state(tmp_path):
    path = tmp_path / "letters"
    path.write_bytes(dumps(letter("of a run before", 0)))
    file = DeadLetterFile(str(path))
    file.write(letter("one", 1))
    state = file.snapshot()
    kept = path.read_bytes()
    file.write(letter("two", 2))
    file.close()
    again = DeadLetterFile(str(path))
    again.restore(state)
    assert path.read_bytes() == kept
    with pytest.raises(OrchestratorError, match=f"it has {len(kept)} bytes of {len(kept) + 1}"):
        again.restore({**state, "bytes": len(kept) + 1})
    with pytest.raises(OrchestratorError, match="its contents differ"):
        again.restore({**state, "bytes": len(kept) - 1})
    again.close()
