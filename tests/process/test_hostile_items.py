"""Items and errors that fight whoever describes them cost their own failure only, wherever they are shown."""

import pytest
from support.hostile import ITEMS, TEXTS, BadError

from orchestrator import Failure, ItemError, Pool, Stream, read_dead_letters


def fails(item):
    raise ValueError("why")


def raises(name):
    raise BadError(TEXTS[name])


def kills(item):
    raise KeyboardInterrupt


def test_every_place_that_shows_an_item(tmp_path, capfd):
    letters = tmp_path / "letters.jsonl"
    with Pool(2) as pool:
        results = list(pool.map(fails, ITEMS.values(), on_error="return", dead_letters=letters, progress=True))
        assert [type(result) for result in results] == [Failure] * len(ITEMS)
        for result in results:
            assert "ValueError: why" in str(result.error)
            assert len(repr(result)) < 1000
        for name, item in ITEMS.items():
            with pytest.raises(ItemError, match="ValueError: why"):
                list(pool.map(fails, [item], timeout=60))
            with pytest.raises(ValueError, match="why"):
                pool.submit(fails, item).result()
            with pytest.raises(ItemError, match="why"):
                Stream([item]).map_inline(fails).collect()
            assert str(pool.status()), name
    assert len(list(read_dead_letters(letters))) == len(ITEMS)
    capfd.readouterr()


def test_every_place_that_shows_an_error(tmp_path):
    letters = []
    with Pool(2) as pool:
        results = list(pool.map(raises, TEXTS, on_error="return", dead_letters=letters.append))
        assert [len(str(result.error)) < 200_000 for result in results] == [True] * len(TEXTS)
        assert len(letters) == len(TEXTS)
        for name in TEXTS:
            with pytest.raises(Exception) as caught:
                pool.submit(raises, name).result()
            assert type(caught.value).__name__ in {"BadError", "RemoteError"}
