"""Every error of ours can be pickled, copied and unpickled, with what it holds and its cause."""

import copy
import pickle
import threading

import pytest

import orchestrator
from orchestrator import ItemError, RemoteError
from orchestrator.errors import OrchestratorError


def all_errors(kind=OrchestratorError):
    for each in kind.__subclasses__():
        yield each
        yield from all_errors(each)


@pytest.mark.parametrize("kind", sorted({*all_errors()}, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_every_error(kind, way):
    error = kind("what", "why") if kind is RemoteError else kind("what")
    error.__cause__ = ValueError("cause")
    error.add_note("note")
    again = way(error)
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert repr(again.__cause__) == "ValueError('cause')"


def test_every_error_of_the_module_is_exported():
    own = {kind.__name__ for kind in all_errors() if kind.__module__ == OrchestratorError.__module__}
    missing = own - {*orchestrator.__all__} - {"PausedError"}  # that one is the command's
    assert not missing, f"name {missing} thrice in orchestrator/__init__.py: under TYPE_CHECKING, in _HOMES and in __all__"


def test_what_can_not_be_pickled_is_described():
    error = ItemError("failed", item=threading.Lock(), index=3)
    error.__cause__ = RemoteError("Kind", "text")
    again = pickle.loads(pickle.dumps(error))
    assert again.item == "<_thread.lock object>"
    assert (again.index, again.__cause__.type_name) == (3, "Kind")
    assert orchestrator.ItemError is type(again)
