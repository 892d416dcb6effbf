"""A function is known by all that it reaches in the user's own code; the same in every process and for every hash seed."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.checkpoint.fingerprint import of_function, of_libraries

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "pkg/__init__.py": "",
    "pkg/deep.py": "from pkg.deeper import FACTOR\ndef inner(x):\n    return x * FACTOR\n",
    "pkg/deeper.py": "FACTOR = 3\n",
    "pkg/whole.py": "import pkg.below\ndef anything(x): return x\n",
    "pkg/below.py": "BELOW = 1\n",
    "pkg/late.py": "LATE = 1\n",
    "pkg/relative.py": "RELATIVE = 1\n",
    "beside.py": "def help_out(x): return x + 1\n",
    "pkg/target.py": """
import enum, functools, logging, re
from dataclasses import dataclass, field
from pathlib import Path
import array
import beside
from pkg.deep import inner
from pkg import whole
log = logging.getLogger(__name__)
PATTERN = re.compile("a+")
KINDS = {"a", "b", "c", ("x", 1), frozenset({"q", "r"})}
TABLE = dict.fromkeys(KINDS, 1)
NESTED = {"a": [1, {"b": (2, 3)}]}
PLACE = Path("a/b"); hash(PLACE); str(PLACE)
ARRAY = array.array("i", range(5))
UNUSED = 1
class Color(enum.Enum):
    RED = 1
class Base:
    scale = 2
    def helper(self, x): return x * self.scale
@dataclass
class Model(Base):
    weight: float
    names: set
    seen: list = field(default_factory=list)
    calls = 0
    def predict(self, x):
        self.calls += 1
        self.seen.append(x)
        return self.helper(x) * self.weight
    def __call__(self, x): return self.predict(x)
model = Model(2.0, {"u", "v", "w"})
bound, partial = model.predict, functools.partial(inner, 4)
seen, count = [], 0
@functools.lru_cache
def cached(x): return x + 1
def decorated(f, margin=5):
    @functools.wraps(f)
    def wrapper(*a): return f(*a) + margin
    return wrapper
@decorated
def fn(x, k=2, *, z={"p": {1, 2}}):
    global count
    seen.append(x)
    count += 1
    if x in {"aa", "bb", "cc"} and PATTERN and KINDS and TABLE and PLACE and Color.RED and NESTED:
        log.info("x")
    from pkg import late
    from . import relative
    return inner(x) + whole.anything(x) + cached(x) + ARRAY.sum() + beside.help_out(x) + late.LATE + (lambda y: y + 6)(x) + relative.RELATIVE
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
""",
}  # fmt: skip
TELL = """
import sys
from orchestrator.checkpoint.fingerprint import of_function
from pkg import target
names = ("fn", "model", "bound", "partial", "even", "odd")
before = [of_function(getattr(target, name)) for name in names]
target.seen.append(1); target.cached(1); target.count = 7; target.model.predict(1); import pkg.late
assert [of_function(getattr(target, name)) for name in names] == before, "what it changes itself"
print("\\n".join(before))
"""
CHANGES = {
    "a constant": ("pkg/target.py", "y + 6", "y + 7", "fn"),
    "a constant of a set": ("pkg/target.py", '"aa", "bb"', '"aa", "bd"', "fn"),
    "a default": ("pkg/target.py", "k=2", "k=3", "fn"),
    "a default of a keyword": ("pkg/target.py", '{"p": {1, 2}}', '{"p": {1, 4}}', "fn"),
    "a variable of a closure": ("pkg/target.py", "margin=5", "margin=6", "fn"),
    "the decorator": ("pkg/target.py", "f(*a) + margin", "f(*a) - margin", "fn"),
    "a pattern": ("pkg/target.py", '"a+"', '"a*"', "fn"),
    "a set": ("pkg/target.py", '("x", 1)', '("x", 2)', "fn"),
    "a nested value": ("pkg/target.py", "(2, 3)", "(2, 4)", "fn"),
    "a path": ("pkg/target.py", '"a/b"', '"a/c"', "fn"),
    "an array": ("pkg/target.py", "range(5)", "range(6)", "fn"),
    "an enumeration": ("pkg/target.py", "RED = 1", "RED = 2", "fn"),
    "a cached helper": ("pkg/target.py", "def cached(x): return x + 1", "def cached(x): return x + 2", "fn"),
    "a helper of a helper": ("pkg/deeper.py", "3", "4", "fn partial"),
    "a helper in another module": ("pkg/deep.py", "x * FACTOR", "x + FACTOR", "fn partial"),
    "a module": ("pkg/whole.py", "return x", "return -x", "fn"),
    "a module that a module imports": ("pkg/below.py", "1", "2", "fn"),
    "a module that is imported late": ("pkg/late.py", "1", "2", "fn"),
    "a relative import": ("pkg/relative.py", "1", "2", "fn"),
    "a module beside the package": ("beside.py", "x + 1", "x + 2", "fn"),
    "the state of an object": ("pkg/target.py", "Model(2.0", "Model(3.0", "model bound"),
    "a set in an object": ("pkg/target.py", '"v", "w"}', '"v", "z"}', "model bound"),
    "a method of a base": ("pkg/target.py", "x * self.scale", "x - self.scale", "model bound"),
    "an attribute of a base": ("pkg/target.py", "scale = 2", "scale = 3", "model bound"),
    "an argument of a partial": ("pkg/target.py", "partial(inner, 4)", "partial(inner, 5)", "partial"),
    "one of two that call each other": ("pkg/target.py", "n != 0 and", "n > 0 and", "even odd"),
    "nothing that it reaches": ("pkg/target.py", "UNUSED = 1", "UNUSED = 2", ""),
    "a comment": ("pkg/target.py", "def even(n)", "# a comment\ndef even(n)", ""),
}


def told(folder, seed="0", **changed):
    for name, text in (FILES | changed).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    path = os.pathsep.join([str(ROOT), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.check_output([sys.executable, "-c", TELL], env=environment, text=True, cwd=folder).splitlines()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return told(tmp_path_factory.mktemp("plain"))


def test_the_same_in_every_process(plain, tmp_path):
    for seed in ("1", "2", "3"):
        assert told(tmp_path, seed) == plain


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(plain, tmp_path, change):
    path, old, new, functions = CHANGES[change]
    assert FILES[path].count(old) == 1
    after = told(tmp_path, **{path: FILES[path].replace(old, new)})
    names = ("fn", "model", "bound", "partial", "even", "odd")
    assert [name for name, one, other in zip(names, plain, after, strict=True) if one != other] == functions.split()


def test_what_can_not_be_looked_into_does_not_stand_in_the_way():
    lock = __import__("threading").Lock()
    itself = []
    itself.append(itself)
    deep = None
    for _ in range(5000):
        deep = (deep,)

    def function(x):
        return lock, itself, deep, sys, os.environ, x

    assert of_function(function) == of_function(function)
    for each in (str.upper, len, "a".join, functools.partial(int, base=2), type, of_function, subprocess.run, object()):
        assert of_function(each) == of_function(each)


def test_the_versions_of_libraries_are_told():
    import numpy

    arrays = [numpy.arange(5), numpy.arange(5), numpy.arange(5)[::-1]]
    one, same, other = (of_function(functools.partial(len, array)) for array in arrays)
    assert one == same != other
    assert of_libraries([numpy.negative, numpy.abs])["numpy"] == numpy.__version__
    assert list(of_libraries([len])) == ["Python"]
