"""What a finished item printed is there, however the pool ends."""

import subprocess
import sys

import pytest
from support.scripts import environment, run_script

SCRIPT = """
    import os, sys, time
    from orchestrator import Pool

    def says(x):
        if x == 7:
            time.sleep(600)
        time.sleep(0.02)  # too long to be sent together with others
        print("line", x)
        print("open", x, end="|", file=sys.stderr)
        sys.stdout.buffer.write(b"bytes %d\\n" % x)
        return x

    def raises(x):
        if x == 6:
            raise ValueError
        return says(x)

    if __name__ == "__main__":
        pool = Pool(2)
        results = iter(pool.map({function}, range({items}), chunk=1))
        for _ in range({taken}):
            next(results)
        {end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "pool.terminate()",
        "sys.exit(0)",
        "del results, pool",
        "raise SystemExit",
        "pool.close()",
    ],
)
def test_prints_to_a_pipe(tmp_path, end):
    items = 6 if end == "pool.close()" else 8
    done = run_script(tmp_path, SCRIPT.format(function="says", items=items, taken=6, end=end))
    assert {f"line {n}" for n in range(6)} <= set(done.stdout.splitlines()), done.stderr
    assert {f"bytes {n}" for n in range(6)} <= set(done.stdout.splitlines())
    assert {f"open {n}" for n in range(6)} <= set(done.stderr.split("|"))


def test_prints_before_an_error(tmp_path):
    done = run_script(tmp_path, SCRIPT.format(function="raises", items=7, taken=7, end=""))
    assert {f"line {n}" for n in range(6)} <= set(done.stdout.splitlines())


def test_no_output_at_all(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom orchestrator import Pool\nfrom orchestrator import Stream\n"
        "def f(x):\n    print(x); return x\n"
        "if __name__ == '__main__':\n"
        "    with Pool(1) as pool:\n"
        "        ok = list(pool.map(f, range(20))) == list(range(20))\n"
        "    open('done', 'w').write(str(ok))\n"
    )
    command = f"exec {sys.executable} {path} >&- 2>&-"
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=environment(), check=False, timeout=60)
    assert (tmp_path / "done").read_text() == "True"
