"""What a finished item printed is there, however the pool ends."""

import os
import subprocess
import sys
from collections import defaultdict

import pytest
from support.scripts import environment, run_script

from orchestrator import ItemError, Pool, WorkerDiedError

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


def writes_no_end(x):
    print(f"[{x}", end="")
    print("]", end="\n" if x % 3 == 2 else "")
    if x == 8:
        raise ValueError
    if x == 9:
        os._exit(1)
    return x


@pytest.mark.parametrize("chunk", [1, 4, "auto"])
@pytest.mark.parametrize("end", ["terminate", "close", "error", "death"])
def test_lines_without_an_end_are_neither_lost_nor_torn(end, chunk):
    heard = defaultdict(list)
    count = {"terminate": 8, "close": 8, "error": 9, "death": 8}[end]
    pool = Pool(2, max_deaths=1)
    pool.on_output = lambda worker, stream, text: heard[worker, stream].append(text)
    if end == "error":
        with pytest.raises(ItemError), pool:
            list(pool.map(writes_no_end, range(count), chunk=chunk))
    else:
        assert list(pool.map(writes_no_end, range(count), chunk=chunk)) == list(range(count))
        if end == "death":
            with pytest.raises(WorkerDiedError):
                list(pool.map(writes_no_end, [9], chunk=1))
        (pool.close if end in {"close", "death"} else pool.terminate)()
    lines = [line for texts in heard.values() for line in "".join(texts).splitlines()]
    items = sorted(int(word) for line in lines for word in line.strip("[]").split("]["))
    assert items == list(range(count))
    assert all(text.endswith("\n") for texts in heard.values() for text in texts)
