"""Files that have the names of our packages, or of the standard library's, beside the program or where it is started."""

import pytest
from support.scripts import run, succeeded

HOSTILE = "import os, sys\nsys.stderr.write(f'{__name__} was run\\n')\nos._exit(13)\n"
PROGRAM = """
import os
from orchestrator import Pool, current
def f(x): return x + 1, current().id
def inner(x):
    from orchestrator import Pool
    with Pool(1) as pool: return list(pool.map(f, [x]))
for method in ("forkserver", "spawn", "fork"):
    with Pool(1, start_method=method) as pool:
        print(list(pool.map(f, [1])), pool.submit(inner, 1).result())
"""
EXPECTED = "[(2, 0)] [(2, 0)]\n" * 3


@pytest.mark.parametrize("name", ["workers.py", "workers/__init__.py"])
def test_a_module_called_workers_beside_the_program_is_not_run(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(HOSTILE)
    (tmp_path / "program.py").write_text(PROGRAM)
    assert succeeded(run(["program.py"], cwd=tmp_path)) == EXPECTED
    assert succeeded(run(["-c", PROGRAM], cwd=tmp_path)) == EXPECTED


def test_files_in_the_current_folder_are_not_run(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    for name in ("workers", "orchestrator", "queue", "random", "selectors", "cloudpickle", "signal", "tempfile"):
        (here / f"{name}.py").write_text(HOSTILE)
    assert succeeded(run(["../program.py"], cwd=here)) == EXPECTED


def test_modules_that_only_a_worker_would_load_are_the_standard_librarys(tmp_path):
    """What our own package loads in a worker is loaded before the folder of the program counts."""
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run(["-c", "import sys, orchestrator.pool.pool, orchestrator.local.coordinator; sys.stdout.write(' '.join(sys.modules))"], cwd=tmp_path)
    loaded = set(succeeded(done).split())
    for name in {"faulthandler", "resource", "fcntl", "queue", "random"} - loaded:
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    assert succeeded(run(["program.py"], cwd=tmp_path)) == EXPECTED


def test_a_clash_is_told_in_one_line(tmp_path):
    (tmp_path / "workers.py").write_text("def clean(x): return x\n")
    first = run(["-c", "import workers, orchestrator"], cwd=tmp_path)
    then = run(["-c", "import orchestrator; from workers import clean"], cwd=tmp_path)
    for done in (first, then):
        line = done.stderr.splitlines()[-1]
        assert done.returncode == 1
        assert line.startswith("ImportError: ")
        assert str(tmp_path / "workers.py") in line
        assert "rename" in line
    done = run(["-m", "orchestrator", "run", "workers:clean", "workers.py"], cwd=tmp_path)
    assert done.returncode == 2
    assert "workers.py:function" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(["-m", "orchestrator", "run", "-q", "workers.py:clean", "workers.py"], cwd=tmp_path)
    assert done.stdout == "def clean(x): return x\n", done.stderr


def test_where_a_package_was_found_need_not_stay_on_the_path(tmp_path):
    text = """
    import sys
    from orchestrator import Pool
    import orchestrator
    sys.path[:] = [each for each in sys.path if each != ROOT]
    def f(x):
        import orchestrator, workers
        return orchestrator.current is workers.current
    for method in ("forkserver", "spawn", "fork"):
        with Pool(1, start_method=method) as pool: print(list(pool.map(f, [1])))
    """.replace("\n    ", "\n").replace("ROOT", "orchestrator.place.ROOT")
    assert succeeded(run(["-c", text], cwd=tmp_path)) == "[True]\n" * 3
