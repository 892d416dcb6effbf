"""Job files: what is wrong is told all at once, with its line; what is right is built as it stands there."""

import json
import pickle

import pytest
from support.plain_streams import PlainStream

from orchestrator.jobfile.builder import build
from orchestrator.jobfile.diagnostics import JobFileError
from orchestrator.jobfile.diagram import draw
from orchestrator.jobfile.loader import read_job
from orchestrator.jobfile.model import NamedFunction

FUNCTIONS = """
import json
def parse(text): return json.loads(text)
def double(d): return {**d, "n": d["n"] * 2}
def odd(d): return d["n"] % 2
def even(d): return not odd(d)
def small(d): return d["n"] < 4
def key(d): return d["n"] % 3
def number(d): return d["n"]
def thrice(d): return [d] * 3
def total(window): return {"total": sum(d["n"] for d in window)}
def numbers(): return [{"n": n} for n in range(12)]
def keep(items): kept.extend(items)
kept = []
not_a_function = 5
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "job_functions.py").write_text(FUNCTIONS)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(12)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "job_functions", raising=False)
    return tmp_path


@pytest.fixture
def mistakes(folder):
    """Read a text as a job file; return what was wrong, without the file's name."""

    def read(text, *overrides):
        (folder / "job.toml").write_text(text)
        with pytest.raises(JobFileError) as caught:
            read_job("job.toml", overrides)
        return [line.removeprefix("job.toml:") for line in str(caught.value).splitlines()]

    return read


@pytest.fixture
def built(folder):
    """Build a text as a job file over plain lists; return the job."""

    def go(text, *overrides):
        (folder / "job.toml").write_text(text)
        job = read_job("job.toml", overrides)
        PlainStream.calls.clear()
        build(job, PlainStream)
        return job

    return go


def results(file):
    with open(file) as lines:
        return [json.loads(line) for line in lines]


WHOLE = """
[pool]
workers = 2

[source.in]
read = "in.jsonl"
format = "jsonl"

[sink.out]
from = "in"
write = "out.jsonl"
"""


def test_all_mistakes_are_told_at_once_with_their_lines(mistakes):
    said = mistakes("""\
[pool]
worker = 2
start_method = "spawned"
max_deaths = 0

[source.in]
read = "gone.jsonl"
format = "json"

[step.one]
from = "im"
map = "job_functions:doubel"
retries = -1

[step.two]
from = "one"
filter = "job_functions:not_a_function"
map = 7

[rout.x]
from = "two"

[sink.out]
from = "two"
write = "no/such/folder"
""")
    assert said[-1].startswith("25: can't write to no/such/folder: there is no folder /")
    assert said[:-1] == [
        "2: [pool] has no key 'worker'; did you mean 'workers'?",
        "3: 'start_method' can't be 'spawned'; did you mean 'spawn'?",
        "4: 'max_deaths' must be a whole number of at least 1, not 0",
        "6: nothing reads 'in'; give it a sink, or [sink.nothing] with from = 'in' and discard = true",
        "7: can't read gone.jsonl: No such file or directory",
        "8: there is no format 'json'; did you mean 'jsonl'?; there are lines, jsonl, csv, blocks, files, arrow, parquet",
        "11: 'from': there is no stream 'im'; there are in, one, two",
        "12: job_functions has no function 'doubel'; did you mean 'double'?",
        "13: 'retries' must be a whole number of at least 0, or a table of exception class = number, not -1",
        "15: [step.two] has map and filter; it needs exactly one of map, filter, flat_map, map_inline, filter_inline, flat_map_inline, through",
        "17: not_a_function in job_functions is of type int and can't be called",
        "18: 'map' must be a function: 'module:function' or 'path/file.py:function', not 7",
        "20: a job file has no 'rout'; did you mean 'route'?",
    ]


ONE = {
    "circle": (
        '[step.a]\nfrom = "b"\nmap = "job_functions:double"\n[step.b]\nfrom = "a"\nmap = "job_functions:double"\n',
        "these tables read each other: ",
    ),
    "output": (
        ('[source.s]\nread = "in.jsonl"\n[route.r]\nfrom = "s"\nto = { odd = "job_functions:odd" }\n'
        '[sink.a]\nfrom = "r.od"\nwrite = "a"\n[sink.b]\nfrom = "r.rest"\nwrite = "b"\n'),
        "7: 'from': there is no stream 'r.od'; did you mean 'r.odd'?",
    ),
    "sink read": (
        '[source.s]\nread = "in.jsonl"\n[sink.a]\nfrom = "s"\nwrite = "a"\n[sink.b]\nfrom = "a"\nwrite = "b"\n',
        "7: 'from': [sink.a] has no output",
    ),
    "unread": (
        WHOLE + '[route.r]\nfrom = "in"\nto = { odd = "job_functions:odd" }\n[sink.o]\nfrom = "r.odd"\nwrite = "o"\n',
        "nothing reads 'r.rest'",
    ),
    "written twice": (WHOLE + '[sink.again]\nfrom = "in"\nwrite = "./out.jsonl"\n', "is also written by [sink.out]"),
    "input": (WHOLE + '[sink.again]\nfrom = "in"\nwrite = "in.jsonl"\n', "is one of the inputs"),
    "name": (WHOLE + '[barrier.in]\nfrom = "in"\n', "12: the name 'in' is taken by [source.in], line 5"),
    "dot": (WHOLE + '[sink."a.b"]\nfrom = "in"\nwrite = "x"\n', "12: the name 'a.b' has a dot"),
    "no name": ('[source]\nread = "in.jsonl"\n', "1: [source] needs a name"),
    "missing": ('[source.s]\nread = "in.jsonl"\n[sink.a]\nwrite = "a"\n', "3: [sink.a] lacks 'from'"),
    "nothing": ("", "1: nothing to do"),
    "idle": ('[sink.a]\nfrom = "in"\n' + WHOLE, "1: [sink.a] has nothing to do; it needs exactly one of write, call, discard"),
    "toml": ("[pool]\nworkers = \n", "2: invalid TOML"),
    "no workflow": (
        WHOLE + '[step.t]\nfrom = "in"\nthrough = "flo"\n[sink.t]\nfrom = "t"\nwrite = "t"\n[[workflow.flow.step]]\n'
        'name = "a"\nmap = "job_functions:double"\n',
        "14: there is no workflow 'flo'; did you mean 'flow'?",
    ),
    "workflow circle": (
        WHOLE + '[[workflow.a.step]]\nname = "x"\nthrough = "b"\n[[workflow.b.step]]\nname = "y"\nthrough = "a"\n',
        "these workflows contain each other: a -> b -> a",
    ),
    "step twice": (
        WHOLE + "[[workflow.a.step]]\nname = 'x'\nmap = 'job_functions:odd'\n" * 2,
        "15: workflow 'a' already has a step 'x'",
    ),
    "by": (WHOLE + "[[workflow.a.step]]\nname = 'x'\nbranches = { a = '' }\n", "12: the step lacks 'by'"),
    "priority": (
        '[source.s]\nread = "in.jsonl"\n[merge.m]\nfrom = ["s"]\norder = "priority"\n[sink.o]\nfrom="m"\nwrite="o"\n',
        "3: [merge.m] lacks a priority for 's'",
    ),
    "inline": (
        WHOLE + '[step.i]\nfrom = "in"\nmap_inline = "job_functions:odd"\ntimeout = 1\n[sink.i]\nfrom = "i"\n'
        'discard = true\n',
        "15: 'timeout' applies to steps that run in workers",
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_a_mistake(mistakes, name):
    text, expected = ONE[name]
    assert any(expected in line for line in mistakes(text)), mistakes(text)


def test_what_is_set_on_the_command_line_is_blamed_there(mistakes, built):
    assert mistakes(WHOLE, "pool.max_deaths=none")[0].startswith("--set pool.max_deaths: 'max_deaths' must be a whole")
    assert mistakes(WHOLE, "sink.out.write.x=1")[0].startswith("--set 'sink.out.write.x=1'")
    assert mistakes(WHOLE, "nothing")[0].startswith("invalid --set 'nothing'")
    job = built(WHOLE, "pool.workers=3", "sink.out.write=other.jsonl", "pool.start_method=spawn")
    assert job.pool == {"workers": 3, "start_method": "spawn"}
    assert results("other.jsonl") == [{"n": n} for n in range(12)]


def test_a_whole_graph(built):
    job = built("""
[source.in]
read = ["in.jsonl"]
format = "jsonl"

[source.more]
items = "job_functions.py:numbers"

[step.double]
from = "in"
map = "job_functions.py:double"
when = "job_functions.py:odd"
retries = 2
on_error = "skip"

[merge.all]
from = ["double", "more"]

[tee.copy]
from = "all"
to = ["copy.jsonl"]

[route.size]
from = "copy"
to = { small = "job_functions.py:small" }
match = "first"

[step.thrice]
from = "size.small"
flat_map = "job_functions.py:thrice"

[sink.small]
from = "thrice"
write = "small.jsonl"

[window.fours]
from = "size.rest"
size = 4
step = 4
partial = false

[step.total]
from = "fours"
map_inline = "job_functions.py:total"

[demultiplex.split]
from = "size.rest"
key = "job_functions.py:key"
keys = [0, 1, 2]

[join.pairs]
left = "split.0"
right = "in"
key = "job_functions.py:number"
how = "left"

[sink.pairs]
from = "pairs"
call = "job_functions.py:keep"

[sink.ones]
from = "split.1"
write = "ones.jsonl"

[sink.twos]
from = "split.2"
discard = true

[sink.total]
from = "total"
write = "total.jsonl"
""")
    everything = [n * 2 if n % 2 else n for n in range(12)] + list(range(12))
    large = [n for n in everything if n >= 4]
    assert [d["n"] for d in results("copy.jsonl")] == everything
    assert [d["n"] for d in results("small.jsonl")] == [n for n in everything if n < 4 for _ in "abc"]
    assert [d["total"] for d in results("total.jsonl")] == [sum(large[i : i + 4]) for i in range(0, len(large) - 3, 4)]
    assert [d["n"] for d in results("ones.jsonl")] == [n for n in large if n % 3 == 1]
    assert ("through", {"retries": 2, "on_error": "skip"}) in PlainStream.calls
    assert ("join", {"how": "left"}) in PlainStream.calls
    assert PlainStream.calls.count(("broadcast", 2)) == 2
    assert list(job.nodes).index("all") > list(job.nodes).index("double")


def test_branches_in_step_and_keys_that_are_not_named(built):
    built("""
[source.in]
read = "in.jsonl"
format = "jsonl"
errors = "replace"
block_bytes = "64K"

[demultiplex.split]
from = "in"
key = "job_functions.py:key"
keys = [0]
unknown = "default"

[merge.urgent]
from = ["split.0"]
order = "priority"
priorities = { "split.0" = 3 }
ageing = 10

[in_step.pairs]
from = ["urgent", "split.others"]
missing = "none left"

[sink.pairs]
from = "pairs"
write = "pairs.jsonl"
""")
    threes, others = [n for n in range(12) if n % 3 == 0], [n for n in range(12) if n % 3]
    pairs = results("pairs.jsonl")
    assert [b["n"] for _, b in pairs] == others
    assert [a["n"] if a != "none left" else None for a, _ in pairs] == [*threes, *[None] * 4]
    assert ("read", {"errors": "replace", "block_bytes": 64 * 1024}) in PlainStream.calls
    assert ("merge_by_priority", {"ageing": 10}) in PlainStream.calls


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ('order = "sorted"\nkey = "job_functions.py:number"', [n for n in range(12) for _ in "ab"]),
        ('order = "priority"\npriorities = { a = 1, b = 2 }', [*range(12), *range(12)]),
        ('order = "multiplex"', [["a", {"n": n}] for n in range(12)] + [["b", {"n": n}] for n in range(12)]),
        ('order = "fair"', [*range(12), *range(12)]),
    ],
)
def test_the_four_ways_to_merge(built, order, expected):
    built(
        '[source.a]\nread = "in.jsonl"\nformat = "jsonl"\n[source.b]\nitems = "job_functions.py:numbers"\n'
        f'[merge.m]\nfrom = ["a", "b"]\n{order}\n[sink.out]\nfrom = "m"\nwrite = "out.jsonl"\n'
    )
    assert [d["n"] if isinstance(d, dict) else d for d in results("out.jsonl")] == expected


def test_workflows_with_conditions_branches_and_nesting(built):
    job = built(
        WHOLE.replace('from = "in"', 'from = "flow"')
        + """
[step.flow]
from = "in"
through = "flow"

[[workflow.flow.step]]
name = "double"
map = "job_functions.py:double"
when = "job_functions.py:odd"

[[workflow.flow.step]]
barrier = true

[[workflow.flow.step]]
name = "few"
filter = "job_functions.py:small"

[[workflow.flow.step]]
name = "nest"
through = "inner"

[[workflow.inner.step]]
name = "thrice"
flat_map = "job_functions.py:thrice"
"""
    )
    assert [list(stage.names) for stage in job.workflows["flow"].stages] == [["double"], ["few", "nest/thrice"]]
    assert [d["n"] for d in results("out.jsonl")] == [n for n in (0, 2, 2) for _ in "abc"]


def test_a_function_arrives_in_a_worker_as_itself(folder):
    named = NamedFunction("job_functions.py:double", str(folder))
    assert named({"n": 2}) == {"n": 4}
    there = pickle.loads(pickle.dumps(named))
    assert there is named.function
    assert named.__name__ == "double"


def test_the_graph_as_text(built):
    job = built(
        WHOLE + '[route.r]\nfrom = "in"\nto = { odd = "job_functions.py:odd" }\n'
        '[sink.o]\nfrom = "r.odd"\ndiscard = true\n[sink.e]\nfrom = "r.rest"\nwrite = "e"\n'
    )
    mermaid = draw(job, "mermaid").splitlines()
    assert mermaid[0] == "flowchart LR"
    assert '    n0(["source in<br/>read: in.jsonl"])' in mermaid
    assert sum("-->" in line for line in mermaid) == 4
    assert any('-- "odd" -->' in line for line in mermaid)
    dot = draw(job, "dot")
    assert '"in" -> "sink.out";' in dot
    assert '"r" -> "sink.o" [label="odd"];' in dot
    assert '"in" [label="source in\\nread: in.jsonl" shape=oval];' in dot
