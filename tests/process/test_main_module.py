"""Programs without an `if __name__ == "__main__"` guard: what their main module defines travels both ways."""

import subprocess
import sys

import pytest
from support.scripts import TIMEOUT_S, environment, run, run_script, succeeded

DEFINITIONS = """
    import enum
    from collections import namedtuple
    from dataclasses import dataclass
    from orchestrator import Pool

    print("the main module runs")

    SCALE = 3

    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 0

        def moved(self, by):
            return Point(self.x + by, self.y)

    class Child(Point):
        pass

    class Colour(enum.Enum):
        RED = 1

    Pair = namedtuple("Pair", "a b")

    class Oops(Exception):
        pass

    def scaled(x):
        return x * SCALE

    def move(point):
        return point.moved(SCALE)

    def identity(x):
        return x

    def fail(x):
        raise Oops(x)
"""

MAIN_ONCE = "the main module runs\n"


def program(method, body):
    lines = body.strip("\n").splitlines()
    return f"{DEFINITIONS}\n    with Pool(workers=2, start_method={method!r}) as pool:\n" + "\n".join(
        "    " + line for line in lines
    )


def run_program(folder, method, body):
    out = succeeded(run_script(folder, program(method, body)))
    assert out.startswith(MAIN_ONCE)
    assert out.count(MAIN_ONCE) == 1, "workers must not run the main module again"
    return out.removeprefix(MAIN_ONCE)


@pytest.fixture(params=["forkserver", "spawn", "fork"])
def method(request):
    return request.param


# ---- scripts ------------------------------------------------------------------------------------------------------


def test_functions_lambdas_closures(tmp_path, method):
    body = """
    print(list(pool.map(scaled, range(4))))
    print(list(pool.map(lambda x: x + SCALE, range(4))))
    def adder(n):
        def add(x):
            return scaled(x) + n
        return add
    print(list(pool.map(adder(10), range(4))))
    print(pool.submit(lambda a, *, b: a + b, 1, b=2).result())
    print(list(pool.map(Point(1, 2).moved, [1, 2])))
    """
    assert run_program(tmp_path, method, body).splitlines() == [
        "[0, 3, 6, 9]",
        "[3, 4, 5, 6]",
        "[10, 13, 16, 19]",
        "3",
        "[Point(x=2, y=2), Point(x=3, y=2)]",
    ]


def test_items_and_results_of_main_classes(tmp_path, method):
    body = """
    for cls in (Point, Child):
        results = list(pool.map(identity, [cls(n) for n in range(50)]))
        assert results == [cls(n) for n in range(50)]
        assert all(type(result) is cls for result in results), type(results[0])
    results = list(pool.map(move, [Point(1), Point(2)]))
    assert results == [Point(4), Point(5)] and all(type(r) is Point for r in results)
    results = list(pool.map(Point, range(5)))
    assert all(type(r) is Point for r in results) and [r.x for r in results] == list(range(5))
    assert list(pool.map(identity, [Colour.RED])) == [Colour.RED]
    assert next(pool.map(identity, [Colour.RED])) is Colour.RED
    assert type(next(pool.map(identity, [Pair(1, 2)]))) is Pair
    assert next(pool.map(identity, [Point])) is Point
    assert next(pool.map(lambda f: f(2), [scaled])) == 6
    assert type(pool.submit(move, Point(1)).result()) is Point
    assert type(pool.submit(identity, x=Point(1)).result()) is Point
    nested = next(pool.map(identity, [{"points": [Point(1), (Child(2),)]}]))
    assert type(nested["points"][0]) is Point and type(nested["points"][1][0]) is Child
    """
    assert run_program(tmp_path, method, body) == ""


def test_exceptions_of_main(tmp_path, method):
    body = """
    from orchestrator import ItemError
    try:
        list(pool.map(fail, [Point(1)]))
    except ItemError as error:
        assert type(error.__cause__) is Oops, error.__cause__
        assert error.__cause__.args == (Point(1),)
        assert error.item == Point(1)
    else:
        raise AssertionError("it did not fail")
    error = pool.submit(fail, 5).exception()
    assert type(error) is Oops and error.args == (5,), error
    """
    assert run_program(tmp_path, method, body) == ""


def test_definitions_that_come_after_the_pool(tmp_path, method):
    body = """
    class Late:
        pass
    def late(x):
        assert type(x) is Late
        return later(x)
    def later(x):
        return x
    assert type(next(pool.map(late, [Late()]))) is Late
    """
    assert run_program(tmp_path, method, body) == ""


def test_an_initializer_of_main(tmp_path, method):
    text = f"""{DEFINITIONS}
    import os
    def prepare(point):
        assert type(point) is Point
        os.environ["PREPARED"] = str(point.x)
    with Pool(workers=2, start_method={method!r}, initializer=prepare, initargs=(Point(7),)) as pool:
        print(pool.run_on_all(lambda: os.environ["PREPARED"]))
    """
    assert succeeded(run_script(tmp_path, text)) == MAIN_ONCE + "['7', '7']\n"


def test_functions_of_a_module_beside_the_script(tmp_path, method):
    (tmp_path / "beside.py").write_text("class Thing:\n    pass\n\ndef same(x):\n    return x\n")
    body = """
    import beside
    assert type(next(pool.map(beside.same, [beside.Thing()]))) is beside.Thing
    """
    assert run_program(tmp_path, method, body) == ""


def test_the_map_in_a_function_of_main(tmp_path):
    text = """
    from orchestrator import Pool
    def main():
        class Local:
            def __init__(self, x):
                self.x = x
        with Pool(workers=2) as pool:
            results = list(pool.map(lambda item: (item.x, type(item).__name__), [Local(1), Local(2)]))
        print(results)
    main()
    """
    assert succeeded(run_script(tmp_path, text)) == "[(1, 'Local'), (2, 'Local')]\n"


# ---- other ways to have a main module -----------------------------------------------------------------------------

SHORT = """
from orchestrator import Pool
class Item:
    def __init__(self, x): self.x = x
def more(item): return Item(item.x + 1)

with Pool(workers=2) as pool:
    results = list(pool.map(more, [Item(n) for n in range(3)]))
    print([r.x for r in results], {type(r) is Item for r in results})

"""


def test_dash_c(tmp_path):
    assert succeeded(run(["-c", SHORT], cwd=tmp_path)) == "[1, 2, 3] {True}\n"


def test_dash_m(tmp_path):
    (tmp_path / "module.py").write_text(SHORT)
    assert succeeded(run(["-m", "module"], cwd=tmp_path)) == "[1, 2, 3] {True}\n"


def test_from_standard_input(tmp_path):
    assert succeeded(run(["-"], cwd=tmp_path, input=SHORT)) == "[1, 2, 3] {True}\n"


def test_repl(tmp_path):
    """What is typed in the REPL has no source file; redefining works as in a notebook."""
    typed = (
        SHORT.replace("more(item):", "more(item):")
        + """pool = Pool(workers=2)

def f(x): return x + 1

list(pool.map(f, range(3)))
def f(x): return x * 100

list(pool.map(f, range(3)))
pool.submit(f, 7).result()
[type(y) is Item for y in pool.map(more, [Item(1)])]
pool.close()
"""
    )
    typed = typed.replace("class Item:\n    def __init__(self, x): self.x = x\n", "class Item:\n    def __init__(self, x): self.x = x\n\n")
    typed = typed.replace("return Item(item.x + 1)\n", "return Item(item.x + 1)\n\n")
    done = run(["-i", "-q"], cwd=tmp_path, input=typed)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr, done.stderr
    shown = [line for line in done.stdout.splitlines() if line.strip(" .>")]
    assert [line.replace(">>> ", "").replace("... ", "") for line in shown] == [
        "[1, 2, 3] {True}",
        "[1, 2, 3]",
        "[0, 100, 200]",
        "700",
        "[True]",
    ]


def test_repl_left_without_close(tmp_path):
    """End of file in the REPL, with an open pool: it ends, and says nothing."""
    typed = "from orchestrator import Pool\npool = Pool(workers=2)\nsum(pool.map(abs, [1, -2]))\n"
    done = run(["-i", "-q"], cwd=tmp_path, input=typed)
    assert "3" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert done.returncode == 0


# ---- defined anew -------------------------------------------------------------------------------------------------


def test_a_function_defined_anew(tmp_path, method):
    body = """
    def helper(x): return ("old helper", x)
    def f(x): return ("old", helper(x))
    assert list(pool.map(f, [1])) == [("old", ("old helper", 1))]
    assert pool.submit(f, 1).result() == ("old", ("old helper", 1))
    def helper(x): return ("new helper", x)
    assert list(pool.map(f, [1])) == [("old", ("new helper", 1))]
    assert pool.submit(f, 1).result() == ("old", ("new helper", 1))
    def f(x): return ("new", helper(x))
    assert list(pool.map(f, [1])) == [("new", ("new helper", 1))]
    assert pool.submit(f, 1).result() == ("new", ("new helper", 1))
    SCALE = 5
    assert list(pool.map(scaled, [1])) == [5]
    assert pool.submit(scaled, 1).result() == 5
    """
    assert run_program(tmp_path, method, body) == ""


def test_a_class_defined_anew_between_two_maps(tmp_path, method):
    body = """
    import operator
    class Thing:
        kind = "old"
    tell = operator.attrgetter("kind")
    assert list(pool.map(tell, [Thing()])) == ["old"]
    assert type(next(pool.map(identity, [Thing()]))) is Thing
    class Thing:
        kind = "new"
    assert list(pool.map(tell, [Thing()])) == ["new"]
    assert type(next(pool.map(identity, [Thing()]))) is Thing
    """
    assert run_program(tmp_path, method, body) == ""


def test_a_class_defined_anew_between_two_submits(tmp_path, method):
    body = """
    import operator
    class Thing:
        kind = "old"
    tell = operator.attrgetter("kind")
    for _ in range(4):  # so that both workers have seen it
        assert pool.submit(tell, Thing()).result() == "old"
        assert type(pool.submit(identity, Thing()).result()) is Thing
    class Thing:
        kind = "new"
    for _ in range(4):
        assert pool.submit(tell, Thing()).result() == "new"
        assert type(pool.submit(identity, Thing()).result()) is Thing
    """
    assert run_program(tmp_path, method, body) == ""


def test_a_function_as_item_defined_anew(tmp_path, method):
    body = """
    def call(f): return f()
    def g(): return "old"
    assert list(pool.map(call, [g] * 4)) == ["old"] * 4
    def g(): return "new"
    assert list(pool.map(call, [g] * 4)) == ["new"] * 4
    assert {pool.submit(call, g).result() for _ in range(4)} == {"new"}
    def g(): return "newest"
    assert {pool.submit(call, g).result() for _ in range(4)} == {"newest"}
    """
    assert run_program(tmp_path, method, body) == ""


# ---- what the mirror must not do ----------------------------------------------------------------------------------


def test_main_is_not_run_in_a_nested_interpreter_either(tmp_path):
    """A pool made while the main module is still being run, by an import of its."""
    (tmp_path / "early.py").write_text(
        "from orchestrator import Pool\nwith Pool(workers=1) as pool:\n    TOTAL = sum(pool.map(abs, [-1, -2]))\n"
    )
    assert succeeded(run_script(tmp_path, "import early\nprint(early.TOTAL)\n")) == "3\n"


def test_a_name_that_main_does_not_have(tmp_path):
    body = """
    def ask(name):
        import sys
        return getattr(sys.modules["__main__"], name, "none of that name")
    print(next(pool.map(ask, ["no_such_name"])))
    """
    assert run_program(tmp_path, "forkserver", body) == "none of that name\n"


def test_modules_of_the_program_that_need_arguments_are_safe(tmp_path):
    """`sys.argv` and the current directory are the program's in the workers too."""
    text = """
    import os, sys
    from orchestrator import Pool
    with Pool(workers=1) as pool:
        print(pool.submit(lambda: sys.argv[1:]).result(), pool.submit(os.getcwd).result() == os.getcwd())
    """
    assert succeeded(run_script(tmp_path, text, "one", "two")) == "['one', 'two'] True\n"


def test_a_program_may_be_piped_into_a_pipe_that_closes(tmp_path):
    """The workers hold no copy of the program's output that would keep a reader waiting after it has ended."""
    program_text = "from orchestrator import Pool\npool = Pool(workers=1)\nprint(next(pool.map(abs, [-1])))\n"
    with subprocess.Popen(
        [sys.executable, "-c", program_text], stdout=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        out, _ = process.communicate(timeout=TIMEOUT_S)  # reads to the end of file
    assert out == b"1\n"
