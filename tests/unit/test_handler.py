"""A function is found by its name, or one line says why not."""

import json
import sys

import pytest

from workers.pickling.load import HandlerError, load


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_module_is_found_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "mine_a.py").write_text("def f(x): return x + 1\n")
    monkeypatch.chdir(tmp_path)
    assert load("mine_a:f")(1) == 2


def test_dots_lead_into_classes(tmp_path):
    (tmp_path / "mine_b.py").write_text("class A:\n    @staticmethod\n    def f(x): return x\n")
    assert load("mine_b:A.f", str(tmp_path))(1) == 1


def test_a_file_is_imported_once_under_its_stem_with_its_folder_on_the_path(tmp_path):
    (tmp_path / "beside_c.py").write_text("value = 5\n")
    (tmp_path / "mine_c.py").write_text("import beside_c\ndef f(x): return beside_c.value\n")
    assert load("mine_c.py:f", str(tmp_path))(0) == 5
    assert load(f"{tmp_path}/mine_c.py:f") is sys.modules["mine_c"].f


def test_a_file_does_not_take_the_place_of_a_loaded_module(tmp_path):
    (tmp_path / "json.py").write_text("def f(x): return x\n")
    assert load("json.py:f", str(tmp_path))(1) == 1
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mine_d", "does not name a function"),
        (":f", "does not name a function"),
        ("mine_d:", "does not name a function"),
        ("nowhere_d:f", "no module 'nowhere_d'"),
        ("nowhere.py:f", "no file"),
        ("mine_d:claen", "no function 'claen'; did you mean 'clean'"),
        ("mine_d:number", "int and can't be called"),
        ("broken_d:f", r"ZeroDivisionError: division by zero \(.*broken_d.py:2\)"),
        ("broken_d.py:f", r"ZeroDivisionError: division by zero \(.*broken_d.py:2\)"),
        ("syntax_d.py:f", r"SyntaxError: .*\(.*syntax_d.py:1\)"),
        ("needs_d:f", r"No module named 'not_there_d' \(.*needs_d.py:1\)"),
        ("leaves_d:f", "SystemExit: 3"),
    ],
)
def test_mistakes_are_one_line(tmp_path, target, said):
    (tmp_path / "mine_d.py").write_text("def clean(x): return x\nnumber = 3\n")
    (tmp_path / "broken_d.py").write_text("\n1 / 0\n")
    (tmp_path / "syntax_d.py").write_text("def (\n")
    (tmp_path / "needs_d.py").write_text("import not_there_d\n")
    (tmp_path / "leaves_d.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(HandlerError, match=said) as caught:
        load(target, str(tmp_path))
    assert "\n" not in str(caught.value)
