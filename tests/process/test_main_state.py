"""What functions of `__main__` leave there in a worker stays, as it does in other pools.

The oracle is `ProcessPoolExecutor` with a fork: the same program must print the same with it.
"""

import sys

import pytest
from support.scripts import run, run_script, succeeded

PROGRAM = """
import concurrent.futures, dataclasses, functools, multiprocessing, pickle, sys, threading, typing

POOL = sys.argv[1]
model = None
settings = {"a": 1}
seen = []
loads = 0
LIMIT = 10

class Counter:
    total = 0
    @functools.cached_property
    def cached(self): return 5

class Node:
    kinds = {}
    parent: "Node" = None
    def __init_subclass__(cls): Node.kinds[cls.__name__] = cls

class Leaf(Node):
    def tell(self): return sorted(Node.kinds), Node.kinds["Leaf"] is Leaf, isinstance(self, Node)

class Singleton:
    def __reduce__(self): return "ONLY"

ONLY = Singleton()
UserId = typing.NewType("UserId", int)
P = typing.ParamSpec("P")
T = typing.TypeVar("T")
Ts = typing.TypeVarTuple("Ts")

class OfThread: pass
class OfChild: pass

def init(value):
    global model
    model = value
    settings["b"] = 2
    seen.append("init")
    Counter.total += 5
    tell.note = "noted"

def tell(_): return model, settings, seen, Counter.total, tell.note
def count(_):
    global loads
    loads += 1
    return loads
def change(x):
    settings[x] = x
    Counter.total += 1
    return len(settings)
def same(x): return x
def is_only(x): return x is ONLY
@functools.lru_cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@functools.singledispatch
def show(_): return "any"
@show.register
def _(x: int): return f"int below {LIMIT}"
@show.register(list)
def _(x): return [show(each) for each in x]
def evaluated(x): return eval("x + LIMIT"), globals()["LIMIT"], [eval(each) for each in ("LIMIT * 2",)]
def query(text): return {name: sys._getframe(1).f_globals[name] for name in ["LIMIT"]}
def with_default(x, where=seen): return where is seen
def local_class(_):
    class Local:
        limit = LIMIT
    return Local.limit
def main_file(_): return sys.modules["__main__"].__file__ == sys.argv[0]
def through_module(_):
    import __main__
    __main__.LIMIT_TWICE = __main__.LIMIT * 2
    return LIMIT_TWICE
def in_thread(data):
    found = []
    thread = threading.Thread(target=lambda: found.append(type(pickle.loads(data)).__name__))
    thread.start()
    thread.join()
    return found
def in_child(data):
    with multiprocessing.get_context("fork").Pool(1) as inner:
        return type(inner.map(pickle.loads, [data])[0]).__name__, inner.map(twice, [LIMIT])
def in_executor(x):
    with concurrent.futures.ProcessPoolExecutor(1) as inner:
        return list(inner.map(twice, [x])), inner.submit(Leaf.tell, Leaf()).result()
def twice(x): return x * 2
def deleted(_):
    global short_lived
    short_lived = 1
    del short_lived
    return "short_lived" in globals()
named_lambda = lambda x: x + LIMIT
def annotated(x: UserId) -> Counter: return typing.get_type_hints(annotated)["x"] is UserId
def many(depth): return 0 if not depth else 1 + odd(depth - 1)
def odd(depth): return 0 if not depth else 1 + many(depth - 1)
@dataclasses.dataclass
class Point:
    x: int
    rest: list = dataclasses.field(default_factory=list)
def move(point): return dataclasses.replace(point, x=point.x + LIMIT)

def calls(mapped, called):
    print(mapped(tell, range(2)))
    print(mapped(count, range(3)), mapped(count, range(3)), called(count, 0))
    print(mapped(change, range(3)), called(change, "x"), mapped(tell, [0]))
    print(mapped(fib, [30, 35]), called(show, [1, "a", [2]]))
    print(called(evaluated, 1), mapped(query, [""]), called(with_default, 0), called(local_class, 0))
    print([called(is_only, ONLY)], [called(same, each) is each for each in (UserId, P, T, Ts, ONLY, Point, tell)])
    print(called(main_file, 0), called(through_module, 0), called(deleted, 0), called(annotated, 1))
    print(called(in_thread, pickle.dumps(OfThread())), called(in_child, pickle.dumps(OfChild())), called(in_executor, 4))
    print(called(named_lambda, 1) if POOL != "peer" else 11, called(many, 40), mapped(move, [Point(1), Point(2, [3])]))
    print(called(Leaf.tell, Leaf()), called(same, Counter()).cached)
"""
PEER = """
context = multiprocessing.get_context("fork")
with concurrent.futures.ProcessPoolExecutor(1, context, init, ("a model",)) as pool:
    calls(lambda f, xs: list(pool.map(f, xs)), lambda f, x: pool.submit(f, x).result())
"""
OURS = """
from orchestrator import Pool
with Pool(1, start_method=POOL, initializer=init, initargs=("a model",)) as pool:
    calls(lambda f, xs: list(pool.map(f, xs)), lambda f, x: pool.submit(f, x).result())
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return succeeded(run_script(tmp_path_factory.mktemp("peer"), PROGRAM + PEER, "peer"))


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_state_stays_as_in_other_pools(tmp_path, method, expected):
    assert succeeded(run_script(tmp_path, PROGRAM + OURS, method)) == expected


SENT_ONCE = """
import sys
from orchestrator import Pool

class Model:
    pickled = 0
    def __reduce__(self):
        Model.pickled += 1
        return bytearray, (200_000,)

model = Model()
def use(_): return len(model)

with Pool(2, start_method=sys.argv[1]) as pool:
    pool.run_on_all(use, 0)
    assert Model.pickled == 2, Model.pickled
    for _ in range(3):
        assert set(pool.map(use, range(50), chunk=1)) == {200_000}
        assert {pool.submit(use, 0).result() for _ in range(20)} == {200_000}
    assert Model.pickled == 2, Model.pickled
    model = Model()
    pool.run_on_all(use, 0)
    pool.run_on_all(use, 0)
    assert Model.pickled == 4, Model.pickled
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_value_is_sent_once_a_worker_and_again_when_it_is_bound_anew(tmp_path, method):
    assert succeeded(run_script(tmp_path, SENT_ONCE, method)) == ""


NOTEBOOK = """
from orchestrator import Pool, ItemError
pool = Pool(2)
scale = 2
def scaled(x): return x * scale + offset()

try: list(pool.map(scaled, range(3)))
except ItemError as error: print(type(error.__cause__).__name__, error.__cause__)

def offset(): return shift

shift = 1
list(pool.map(scaled, range(3)))
shift = 10; scale = 1
list(pool.map(scaled, range(3))), {pool.submit(scaled, 0).result() for _ in range(8)}
before = pool.map(scaled, range(3))
def scaled(x): return -x

list(before), list(pool.map(scaled, range(3)))
names = eval
def evaluate(text): return eval(text)

pool.submit(evaluate, "shift").result()
fresh = 3
[pool.submit(evaluate, "fresh + shift").result() for _ in range(4)]
del fresh
pool.submit(evaluate, "'fresh' in globals()").result()
closed = pool.close()
"""
SHOWN = """\
NameError name 'offset' is not defined
[1, 3, 5]
([10, 11, 12], {10})
([10, 11, 12], [0, -1, -2])
10
[13, 13, 13, 13]
False
"""


def test_a_name_bound_anew_is_seen_by_the_next_call(tmp_path):
    done = run(["-i", "-q"], cwd=tmp_path, input=NOTEBOOK)
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line.replace(">>> ", "").replace("... ", "") for line in done.stdout.splitlines()]
    assert [line for line in lines if line] == SHOWN.splitlines()


SHORT = """
from orchestrator import Pool
ready = None
def init():
    global ready
    ready = "yes"
def ask(x): return ready, __name__
with Pool(1, initializer=init) as pool: print(list(pool.map(ask, [0])), pool.submit(ask, 0).result())
"""


@pytest.mark.parametrize("how", ["-c", "-m", "-"])
def test_state_stays_however_the_program_is_started(tmp_path, how):
    (tmp_path / "module.py").write_text(SHORT)
    given = {"-c": SHORT, "-m": "module", "-": None}[how]
    done = run([how, *([given] if given else [])], cwd=tmp_path, input=None if given else SHORT)
    assert succeeded(done) == "[('yes', '__main__')] ('yes', '__main__')\n"


def test_what_can_not_be_sent_is_told_where_it_is_missed(tmp_path):
    text = """
    import threading
    from orchestrator import Pool, ItemError
    lock = threading.Lock()
    connection = threading.Lock()
    def init():
        global connection
        connection = "made here"
    def locked(x):
        with lock: return x
    with Pool(1, initializer=init) as pool:
        print(pool.submit(lambda: connection).result())
        try: list(pool.map(locked, [1]))
        except ItemError as error: print(error.__cause__.__notes__[0])
    """
    assert succeeded(run_script(tmp_path, text)) == (
        "made here\n`lock` of the main module can't be sent to a worker (TypeError: cannot pickle '_thread.lock' "
        "object); create it in an initializer\n"
    )


def test_the_start_method_of_the_program_is_its_own(tmp_path):
    """Pools leave it open, and what user code starts in a worker is started as the program would."""
    text = """
    import multiprocessing
    from orchestrator import Pool
    with Pool(1) as pool:
        print(pool.submit(multiprocessing.get_start_method).result() == multiprocessing.get_context().get_start_method())
    with Pool(1): pass
    multiprocessing.set_start_method("spawn", force=False)
    with Pool(1) as pool:
        print(pool.submit(multiprocessing.get_start_method).result())
    """.replace("multiprocessing.get_context().get_start_method()", repr((sys.version_info < (3, 14) and "fork") or "forkserver"))
    assert succeeded(run_script(tmp_path, text)) == "True\nspawn\n"
