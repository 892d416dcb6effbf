"""Job files know every method of `Stream`, `Workflow` and `Pool`, with every parameter that a file can give."""

import pytest

from orchestrator import Pool, Stream, Workflow, run
from orchestrator.cli.job.options import job_parser
from orchestrator.jobfile import builder, loader
from orchestrator.jobfile.diagnostics import JobFileError
from orchestrator.jobfile.fingerprint import of_job
from orchestrator.jobfile.tables import schema
from orchestrator.jobfile.tables.signatures import methods_of, parameters

FOR_PROGRAMS = {"collect", "explain", "iterate_async"}
"""Methods of `Stream` that give results to a program."""
WORKFLOW = {
    "step": {"name": "name", "run": "map", "when": "when"},
    "filter": {"name": "name", "keep": "filter", "when": "when"},
    "flat_map": {"name": "name", "spread": "flat_map", "when": "when"},
    "branch": {"name": "name", "branches": "branches", "by": "by", "default": "default", "others_pass": "others_pass"},
    "barrier": {"each_worker": "each_worker", "then": "then"},
}
"""Method -> parameter -> key of a workflow's step."""


def public(owner):
    return {name for name in methods_of(owner) if not isinstance(getattr(owner, name), property)}


def test_every_method_of_streams_has_a_table():
    methods = {method for kind in schema.NODES for method in schema.table_of(kind).methods}
    assert methods == public(Stream) - FOR_PROGRAMS


@pytest.mark.parametrize("kind", schema.NODES)
def test_every_parameter_has_a_key(kind):
    table = schema.table_of(kind)
    keys = set()
    for method in table.methods:
        known = dict(schema.parameters_of(kind, method))
        assert {each.name for each in known.values()} == {each.name for each in parameters(getattr(Stream, method))} - schema.LABELS
        keys |= known.keys()
    assert keys <= schema.NODES[kind].keys()


def test_steps_take_the_options_of_a_map():
    options = {each.name for each in parameters(Pool.map)} - {"fn", "iterables", "progress", "desc"}
    assert options == schema.OPTIONS.keys()
    assert options <= schema.NODES["step"].keys()


def test_the_pool_takes_all_that_a_file_can_give():
    assert schema.POOL.keys() | schema.NOT_IN_FILES == {each.name for each in parameters(Pool)}


def test_every_method_of_workflows_has_its_keys():
    assert public(Workflow) - {"name", "parts", "stages", "barriers"} == WORKFLOW.keys()
    for method, keys in WORKFLOW.items():
        assert {each.name for each in parameters(getattr(Workflow, method))} == keys.keys()
        assert set(keys.values()) <= schema.WORKFLOW_STEP.keys()


def test_the_help_names_every_table_and_option():
    shown = job_parser().format_help()
    for name in (*schema.TOP, *schema.OPTIONS):
        assert name in shown


class Longer(Stream):
    """A stream class with new patterns, as somebody may add one."""

    __slots__ = ()

    def every(self, n: int, start: int = 0, *, keep: "str | None" = None, desc: "str | None" = None):
        """Take every nth item."""
        return self.filter_inline(lambda item: item % n == start).map_inline(lambda item: (keep, desc, item))

    def zipped(self, other: "Stream", *more: "Stream"):
        """Take the items of all, in step."""
        return self.in_step(other, *more)

    @classmethod
    def joined(cls, *streams: "Stream", flag: bool = False):
        """Merge."""
        return cls.merge(*streams).map_inline(lambda item: (flag, item))


@pytest.fixture
def longer(tmp_path, monkeypatch):
    """Have job files know the methods of `Longer`; give the folder."""
    for name in ("every", "zipped", "joined"):
        monkeypatch.setattr(Stream, name, vars(Longer)[name], raising=False)
        fields = schema.nodes_of(Longer)[name]
        monkeypatch.setitem(schema.NODES, name, fields)
        monkeypatch.setitem(schema.INPUTS, name, schema.inputs_of(fields))
    monkeypatch.setattr(schema, "TOP", (*schema.TOP, "every", "zipped", "joined"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text("def ten(): return range(10)\ndef keep(item): kept.append(item)\nkept = []\n")
    return tmp_path


def test_a_new_method_is_a_table_with_its_parameters_as_keys(longer):
    (longer / "job.toml").write_text(
        '[source.s]\nitems = "ten.py:ten"\n'
        '[every.third]\nfrom = "s"\nn = 3\nkeep = "k"\n'
        '[every.other]\nfrom = "s"\nn = 2\nstart = 1\n'
        '[zipped.both]\nfrom = "third"\nother = "other"\n'
        '[joined.all]\nfrom = ["both"]\nflag = true\n'
        '[sink.end]\nfrom = "all"\ncall = "ten.py:keep"\n'
    )
    job = loader.read_job("job.toml")
    run(*builder.build(job))
    kept = job.nodes["sink.end"].values["call"].function.__globals__["kept"]
    assert kept[:2] == [
        (True, (("k", "third", 0), (None, "other", 1))),
        (True, (("k", "third", 3), (None, "other", 3))),
    ]


def test_mistakes_in_a_new_table_are_told_as_in_any_other(longer):
    (longer / "job.toml").write_text(
        '[source.s]\nitems = "ten.py:ten"\n'
        '[every.third]\nfrom = "s"\nm = 3\nstrat = 1\n'
        '[zipped.both]\nfrom = "third"\nother = "s"\nmore = ["gone"]\n'
        '[sink.end]\nfrom = "both"\ndiscard = true\n'
    )
    with pytest.raises(JobFileError) as caught:
        loader.read_job("job.toml")
    assert str(caught.value).splitlines() == [
        "job.toml:3: [every.third] lacks 'n': a whole number of at least 1",
        "job.toml:5: [every.third] has no key 'm'; there are from, n, start, keep",
        "job.toml:6: [every.third] has no key 'strat'; did you mean 'start'?",
        "job.toml:10: 'more': there is no stream 'gone'; there are s, third, both",
    ]


def test_an_annotation_that_means_nothing_to_files_is_refused():
    class Odd(Stream):
        def odd(self, thing: "complex"):
            """Do something."""

    with pytest.raises(TypeError, match="give it one in signatures"):
        schema.nodes_of(Odd)


TAKEN = {
    "flat_map_inline": '[step.t]\nfrom = "s"\nflat_map_inline = "ten.py:twice"\n',
    "barrier": '[barrier.t]\nfrom = "s"\neach_worker = "ten.py:each"\nthen = "ten.py:use"\n',
    "broadcast": '[broadcast.b]\nfrom = "s"\nn = 1\non_failure = "drop"\n[step.t]\nfrom = "b.0"\nmap_inline = "ten.py:same"\n',
    "workflow barrier": (
        '[[workflow.w.step]]\nname = "a"\nmap = "ten.py:same"\n'
        '[[workflow.w.step]]\nbarrier = true\neach_worker = "ten.py:each"\nthen = "ten.py:use"\n'
        '[[workflow.w.step]]\nname = "b"\nmap = "ten.py:same"\n'
        '[step.t]\nfrom = "s"\nthrough = "w"\n'
    ),
}


EVERY = """
[source.a]
items = "ten.py:ten"
[source.b]
items = "ten.py:ten"
[merge.m]
from = ["a", "b"]
order = "concat"
[skip.s]
from = "m"
n = 1
[take_while.w]
from = "s"
pred = "ten.py:small"
[take.t]
from = "w"
n = 15
[distinct.d]
from = "t"
key = "ten.py:half"
[enumerate.e]
from = "d"
start = 5
[batch.two]
from = "e"
n = 2
[unbatch.one]
from = "two"
[throttle.slow]
from = "one"
per_second = 1000
[step.r]
from = "slow"
map_inline = "ten.py:same"
retries = { OSError = 1 }
[window_by_session.gaps]
from = "r"
gap_s = 2
at = "ten.py:first"
late = "late.txt"
[step.items]
from = "gaps"
map_inline = "ten.py:items"
[unbatch.all]
from = "items"
[top.five]
from = "all"
n = 3
key = "ten.py:first"
smallest = true
[source.c]
items = "ten.py:ten"
[in_step.both]
from = ["five", "c"]
strict = "shortest"
[sink.end]
from = "both"
call = "ten.py:keep"
"""


@pytest.fixture
def ten(tmp_path, monkeypatch):
    """A folder with functions for job files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text(
        "kept = []\ndef ten(): return range(10)\ndef small(n): return n < 100\ndef half(n): return n // 2\n"
        "def same(n): return n\ndef first(pair): return pair[0]\ndef items(window): return window.items\n"
        "def odd(n): return n % 2\ndef add(a, b): return a + b\ndef put(found, n): return [*found, n]\n"
        "def total(row): return row['total']\ndef keep(item): kept.append(item)\n"
    )
    return tmp_path


def test_every_operator_that_picks_is_a_table(ten):
    (ten / "job.toml").write_text(EVERY)
    job = loader.read_job("job.toml")
    run(*builder.build(job))
    kept = job.nodes["sink.end"].values["call"].function.__globals__["kept"]
    assert kept == [((5, 1), 0), ((6, 2), 1), ((7, 4), 2)]


GATHERED = """
[source.a]
items = "ten.py:ten"
[group_by.g]
from = "a"
key = "ten.py:odd"
key_name = "odd"
memory = "1K"
retries = 1
agg = { n = "count", total = { sum_of = "ten.py:same" }, all = { fold_of = { fn = "ten.py:put", initial = [], combine = "ten.py:add" } } }
[sort.s]
from = "g"
key = "ten.py:total"
reverse = true
chunk = 1
[source.b]
items = "ten.py:ten"
[reduce.r]
from = "b"
fn = "ten.py:add"
initial = 100
[source.c]
items = "ten.py:ten"
[fold.f]
from = "c"
fn = "ten.py:put"
initial = []
combine = "ten.py:add"
[merge.m]
from = ["s", "r", "f"]
order = "concat"
[sink.end]
from = "m"
call = "ten.py:keep"
"""


def test_what_gathers_is_a_table(ten):
    (ten / "job.toml").write_text(GATHERED)
    job = loader.read_job("job.toml")
    known = of_job(job)
    assert known == of_job(loader.read_job("job.toml"))
    assert "the function ten.py:put" in known
    run(*builder.build(job), engine="serial")
    kept = job.nodes["sink.end"].values["call"].function.__globals__["kept"]
    assert kept == [
        {"odd": 1, "n": 5, "total": 25, "all": [1, 3, 5, 7, 9]},
        {"odd": 0, "n": 5, "total": 20, "all": [0, 2, 4, 6, 8]},
        145,
        [*range(10)],
    ]


@pytest.mark.parametrize(
    ("agg", "told"),
    [
        ('"count"', "'agg' must be a table of name = 'count'"),
        ('{ n = "cuont" }', "'n' is no aggregate: 'cuont'; did you mean 'count'?"),
        ('{ n = { count = "ten.py:ten" } }', "'count' takes no function, not 'ten.py:ten'"),
        ("{ n = { sum_of = 3 } }", "'sum_of' takes a function"),
        ('{ n = { sum_of = "ten.py:gone" } }', "gone"),
        ('{ n = { fold_of = { fn = "ten.py:ten", initial = 0 } } }', "fold_of lacks 'combine'"),
        ('{ n = "fold_of" }', "fold_of must be a table"),
        ('{ key = "count" }', "'key' is the name of the key"),
    ],
)
def test_mistakes_in_aggregates(tmp_path, monkeypatch, agg, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text("def ten(): return range(3)\n")
    (tmp_path / "job.toml").write_text(
        f'[source.s]\nitems = "ten.py:ten"\n[group_by.g]\nfrom = "s"\nkey = "ten.py:ten"\nagg = {agg}\n'
        '[sink.end]\nfrom = "g"\ndiscard = true\n'
    )
    with pytest.raises(JobFileError) as caught:
        builder.build(loader.read_job("job.toml"))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('[in_step.x]\nfrom = ["s"]\nstrict = "short"\n', "'strict' can't be 'short'; did you mean 'shortest'?"),
        ('[in_step.x]\nfrom = ["s"]\nstrict = false\n', "there are true, shortest, longest"),
        ('[take.x]\nfrom = "s"\nn = -1\n', "'n' must be a whole number of at least 0, not -1"),
        ('[merge.x]\nfrom = ["s"]\nreverse = true\n', "'reverse' needs order = 'sorted'"),
        ('[step.x]\nfrom = "s"\nflat_map_inline = "ten.py:ten"\nretries = 2\n', "not to flat_map_inline"),
    ],
)
def test_mistakes_in_tables_that_pick(tmp_path, monkeypatch, table, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text("def ten(): return range(3)\n")
    (tmp_path / "job.toml").write_text(f'[source.s]\nitems = "ten.py:ten"\n{table}[sink.end]\nfrom = "x"\ndiscard = true\n')
    with pytest.raises(JobFileError) as caught:
        loader.read_job("job.toml")
    assert told in str(caught.value)


@pytest.mark.parametrize("case", TAKEN)
def test_what_the_methods_take_is_passed_on(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text(
        "def ten(): return range(3)\ndef twice(n): return [n, n]\ndef same(n): return n\ndef each(): return 1\ndef use(all): pass\n"
    )
    (tmp_path / "job.toml").write_text(f'[source.s]\nitems = "ten.py:ten"\n{TAKEN[case]}[sink.end]\nfrom = "t"\ndiscard = true\n')
    (end,) = builder.build(loader.read_job("job.toml"))
    shown = end.explain()
    assert {"flat_map_inline": "twice", "broadcast": "broadcast"}.get(case, "barrier") in shown


def test_a_method_that_refuses_its_values_is_told_with_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ten.py").write_text("def ten(): return range(3)\ndef key(n): return n\n")
    (tmp_path / "job.toml").write_text(
        '[source.a]\nitems = "ten.py:ten"\n[source.b]\nitems = "ten.py:ten"\n'
        '[join.j]\nleft = "a"\nright = "b"\nkey = "ten.py:key"\nwithin_s = 2\n[sink.end]\nfrom = "j"\ndiscard = true\n'
    )
    with pytest.raises(JobFileError, match=r"^job.toml:5: \[join.j\]: "):
        builder.build(loader.read_job("job.toml"))


# ---- what stands outside the file ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "ten.py").write_text("def ten(): return range(3)\ndef same(n): return n\n")
    return tmp_path


SINK = '[sink.end]\nfrom = "s"\nwrite = "-"\n'


def test_variables_and_included_tables_stand_where_they_are_named(folder, monkeypatch, capfdbinary):
    monkeypatch.setenv("MODULE", "ten.py")
    monkeypatch.setenv("WHERE", "shared")
    (folder / "job.toml").write_text(f'include = "${{WHERE}}/sources.toml"\n[pool]\nworkers = 2\n{SINK}')
    (folder / "shared/sources.toml").write_text(
        'include = ["more.toml"]\n[pool]\nworkers = 7\nseed = 3\n[step.s]\nfrom = "a"\nmap_inline = "${MODULE}:same"\n'
    )
    (folder / "shared/more.toml").write_text('[source.a]\nitems = "${MODULE}:ten"\n[sink.x]\nfrom = "a"\nwrite = "$$a $b ${WHERE}"\n')
    job = loader.read_job("job.toml")
    assert job.pool == {"workers": 2, "seed": 3}
    assert job.nodes["sink.x"].values["write"] == "$a $b shared"
    assert (job.nodes["s"].file, job.nodes["s"].line) == ("shared/sources.toml", 5)
    run(*builder.build(job))
    assert capfdbinary.readouterr().out == b"0\n1\n2\n"


def told(folder, text, **files):
    (folder / "job.toml").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.toml").write_text(content)
    with pytest.raises(JobFileError) as caught:
        builder.build(loader.read_job("job.toml"))
    return str(caught.value).splitlines()


def test_every_variable_that_is_not_set_is_told_at_once(folder, monkeypatch):
    monkeypatch.delenv("GONE", raising=False)
    text = f'[source.s]\nread = ["${{GONE}}.txt",\n  "${{ALSO GONE}}"]\n{SINK}'
    assert told(folder, text) == [
        "job.toml:2: ${GONE} is not set in the environment; write $$ for a plain $",
        "job.toml:3: '${' without a name and '}'; write $$ for a plain $",
    ]


def test_mistakes_of_an_included_file_are_told_with_its_lines(folder):
    source = '[source.s]\nitems = "ten.py:gone"\n'
    (line,) = told(folder, f'include = "a.toml"\n{SINK}', a=source)
    assert line.startswith("a.toml:2: ")


def test_what_cannot_be_included_is_told(folder):
    assert told(folder, f"include = 3\n{SINK}") == ["job.toml:1: 'include' must be a path, or a list of paths, not 3"]
    assert told(folder, f'include = ["no.toml"]\n{SINK}') == ["job.toml:1: can't read no.toml: no such file"]
    for kind in ("source", "sink", "pool", "workflow"):  # whether the file itself has such a table or not
        lines = told(folder, f'include = "a.toml"\n{SINK}', a=f"\n{kind} = 3\n")
        assert any(line.startswith(f"a.toml:2: [{kind}] ") for line in lines)
    (line,) = told(folder, f"include = 'a\\u0000b'\n{SINK}".replace("'", '"'))
    assert line.endswith(": no such file")
    circle = told(folder, f'include = "a.toml"\n{SINK}', a='include = "b.toml"\n', b='\ninclude = "./job.toml"\n')
    assert circle == ["b.toml:2: ./job.toml includes itself, by way of b.toml"]
    twice = told(folder, f'include = "a.toml"\n{SINK}', a="[sink.end]\nfrom = 's'\ndiscard = true\n")
    assert twice == ["a.toml:1: [sink.end] is there already, in job.toml, line 2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x = " + "9" * 5000, "digits"), ("x = " + "[" * 3000 + "]" * 3000, "nested too deeply")],
)
def test_values_that_python_cannot_read_are_told(folder, text, reason):
    (line,) = told(folder, f"{text}\n")
    assert line.startswith("job.toml: invalid TOML: ")
    assert reason in line


def test_a_value_of_any_size_is_told(folder):
    (line,) = told(folder, f"include = 0x1{'0' * 5000}\n{SINK}")
    assert line.endswith("not <int of 20,001 bits>")
