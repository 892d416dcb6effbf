"""Command lines that people type for GNU parallel, side by side with it."""

import os
import shlex
import shutil
import subprocess

import pytest

from orchestrator.cli import run_command_line
from tests.cli.conftest import COMMAND

pytestmark = pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")

FILES = {
    "five": b"1\n2\n3\n4\n5\n",
    "table": b"a\tb\nc\td\n",
    "rows.csv": b"n,m\n1,x y\n2,q\n",
    "blank": b"a \nb\n\nc\nd\n",
    "nul": b"a\0b\nc\0",
    "big": b"".join(b"%d\n" % n for n in range(30_000)),
    "fa": b">a\nAC\n>b\nGT\n>c\nTT\n",
}
LINES = [
    "echo ::: 'a b' \"it's\" 'x$y' a@b a=b é '' '{}'",
    "-n2 echo 'a{}b' {1} {2} {3} ::: 1 2 3",
    "-N2 echo 'a{}b' {1} {2} {3}, {4} ::: 1 2 3",
    "-N2 echo {1} {2} {3} {4} ::: a b c ::: 1 2",
    "-j2 -X echo 'a{}b' {1} ::: 1 2 3 4 5",
    "-j4 -m echo 'a{}b' x{.} ::: 1 2 3 4 5",
    "-X -n2 echo a{}b :::: five",
    "-L2 echo {2} a{}b {1} :::: blank",
    "-a five -a table echo {1} {2} ::: x",
    "--link echo {1} {2} ::: a b c ::: 1 2 ::: x",
    "--xapply -a five echo {1} {2} ::: x y",
    r"--colsep '\t' -a table echo {2} {1} {} {3}",
    "-C , echo '{1}+{2}+{3}' ::: 'a,,' ',b' a,b,c",
    "--colsep ' ' -N2 echo '{1}+{2}+{3}+{4}' ::: 'a b' 'c d'",
    "--header : --colsep , echo {m} {n} {n.} {1} :::: rows.csv",
    "--header : echo {f1} {f2} {1} ::: f1 A B ::: f2 1 2",
    "-r echo x{}x :::: blank",
    "-d , echo {}. :::: rows.csv",
    "-0 echo :::: nul",
    "--arg-sep ,, echo ,, 1 2 ::: 3",
    "-I,, echo ,,. {} ,. {/} ::: a.b",
    "--plus echo {..} {...} {+/} {+.} {+..} {+...} {/..} {/...} {##} '{:-dflt}' {%.gz} {#d/} ::: d/foo.tar.gz ''",
    "--plus echo '{1:-d}' '{2%.gz}' {2..} {2%o+} {2%%o+} {2#f.} {2##f.} ::: '' ::: foo.gz",
    "--will-cite --no-notice --group -kP3 echo {} {/} {//} ::: a/b.c",
]

RUN = [
    "PARALLEL -k -n0 echo hi ::: 1 2",
    "PARALLEL -k -q echo '{}  $x' '\"{}\"' plain ::: 'a  b'",
    "f() { echo \"<$1>\"; }; export -f f; PARALLEL -k f ::: a 'b c'",
    "PARALLEL -kj1 'echo $PARALLEL_SEQ $PARALLEL_JOBSLOT {}' ::: a b",
    "seq 3 | PARALLEL -k -j0 echo hello {}",
    "PARALLEL -k --pipe --block 20k --joblog log wc <big; cut -f1,5- log | sort -n; rm log",
    "cat big | PARALLEL -k --pipe --block 20k md5sum",
    "cat rows.csv | PARALLEL -k --pipe --header : --block 5 --tag 'echo {#}; cat'",
    "PARALLEL -k --pipepart -a big -a five --block 50k md5sum",
    "PARALLEL -k -j2 --pipepart -a big --block -2 wc",
    "cat fa | PARALLEL -k --pipe --recstart '>' -N2 'echo --; cat'",
    "printf 'a;b;c;d' | PARALLEL -k --pipe --recend ';' --block 4 'cat; echo'",
    "PARALLEL -k --pipe --cat -N2 'wc -l < {}' <five",
    "cat big | PARALLEL -j2 --pipe --round-robin --block 10k wc -l | awk '{n += $1} END {print n, NR}'",
]


@pytest.fixture(autouse=True)
def files(folder, monkeypatch):
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))


def words_of(line):
    """The words that the shell makes of a line."""
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    return [os.fsdecode(word) for word in shown.split(b"\0")[:-1]]


@pytest.mark.parametrize("line", LINES)
def test_the_commands_that_would_run_are_the_same(line, capfdbinary):
    words = ["--dry-run", "-k", *words_of(line)]
    theirs = subprocess.run(["parallel", *words], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert run_command_line(["exec", *words]) == theirs.returncode
    assert capfdbinary.readouterr().out == theirs.stdout


WRITTEN = [
    "PARALLEL -k --results res 'echo {}; echo err >&2' ::: a/b 'c d' ::: 1; find res -name stdout | sort",
    "PARALLEL -k --header : --results res 'echo {x}; exit 3' ::: x A ::: y 1 2",
    "PARALLEL -k --results 'o_{}.txt' echo ::: a b; PARALLEL -k --results 'o/{}/' echo ::: a b",
    "PARALLEL -k --results r.csv 'echo {}; exit 3' ::: a bc; cut -d, -f1,5- r.csv | tr -d '\"' | sort; rm r.csv",
    "PARALLEL -k --files --tmpdir . echo ::: a b | xargs cat; rm par*.par",
    "PARALLEL -k --tagstring '{#}-{}' -v echo ::: a 'b c'",
    "PARALLEL -k -t echo {} ::: a 'b c' 2>&1 | sort",
    "PARALLEL -k --wd '{}' 'pwd; : {}' ::: /usr new/dir | sed 's-/.*/new-new-'",
    "PARALLEL -u -j1 'echo {}; echo {} >&2' ::: a b >both 2>&1",
    "PARALLEL --line-buffer --tag -j2 'echo {}; [ {} = a ] && read x <gate; [ {} = b ] && : >gate; echo {}' ::: a b | sort",
    "PARALLEL --delay 0.01 --env HOME --load 1000 -k echo ::: 1 2",
    "PARALLEL -j1 --joblog log 'exit {}' ::: 0 3; PARALLEL --joblog log --retry-failed; cut -f1,5- log; rm log",
]
GNU = [
    *WRITTEN,
    "PARALLEL -j1 'exit {}' ::: 3 0 4",
    "PARALLEL -j1 --halt now,fail=1 'echo {}; exit {}' ::: 0 3 4",
    "PARALLEL -j1 --halt soon,fail=2 'exit {}' ::: 3 4 5",
    "PARALLEL -j1 --halt soon,fail=50% 'exit {}' ::: 3 4 5 6",
    "PARALLEL -j1 --halt now,success=1 'echo {}; exit {}' ::: 3 0 4",
    "PARALLEL -j1 --halt now,done=1 'exit {}' ::: 3 4",
    "PARALLEL -j1 --retries 3 --joblog log 'echo x >>tries; exit {}' ::: 3 0; cut -f1,5- log; rm log",
    "seq 3 | PARALLEL -j1 echo hello",
]


@pytest.mark.parametrize(("line", "options"), [*((line, "--quiet") for line in RUN), *((line, "--gnu") for line in GNU)])
def test_what_they_write_and_leave_is_the_same(line, options, tmp_path, environment):
    def run(name, command):
        folder = tmp_path / name
        folder.mkdir()
        for each, data in FILES.items():
            (folder / each).write_bytes(data)
        os.mkfifo(folder / "gate")
        text = line.replace("PARALLEL ", f"{command} ")
        done = subprocess.run(["bash", "-c", text], capture_output=True, cwd=folder, env=environment, check=False)
        left = {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
        return done.returncode, done.stdout.replace(bytes(folder), b""), left

    assert run("ours", f"{shlex.join(COMMAND)} exec {options}") == run("theirs", "parallel")
