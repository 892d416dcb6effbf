"""What None means: `run` drops the record, a job and a stream keep the value unless `drop_none` is set; both helps say it."""

import pytest

from orchestrator import Stream, run

INPUTS = {
    "lines": ("in.txt", "1\n2\n3\n4\n5\n"),
    "jsonl": ("in.jsonl", "1\n2\n3\n4\n5\n"),
    "csv": ("in.csv", "n\n1\n2\n3\n4\n5\n"),
    "blocks": ("1.txt", "1\n"),
    "files": ("1.txt", ""),
}
ODD = """
def odd(record):
    text = record["n"] if isinstance(record, dict) else record.decode() if isinstance(record, bytes) else str(record)
    n = int(text.removesuffix(".txt"))
    if n == 4: raise ValueError(n)
    return None if n % 2 == 0 else n
"""


def odd(n):
    return None if n % 2 == 0 else n


@pytest.fixture
def both(folder, command, monkeypatch):
    """Run the same function over the same input by `run`, a job and a stream; give what each wrote, drop_none or not."""
    monkeypatch.chdir(folder)
    (folder / "n.py").write_text(ODD)

    def go(record_format, drop_none):
        name, text = INPUTS[record_format]
        code = int("4" in text)  # it fails for that one
        (folder / name).write_text(text)
        command("run", "n.py:odd", name, "--format", record_format, "-o", "run.jsonl", "-j1", "--on-error", "skip",
            code=code)  # fmt: skip
        (folder / "job.toml").write_text(
            f'[source.s]\nread = "{name}"\nformat = "{record_format}"\n'
            f'[step.f]\nfrom = "s"\nmap = "n.py:odd"\non_error = "skip"\ndrop_none = {str(drop_none).lower()}\n'
            '[sink.out]\nfrom = "f"\nwrite = "job.jsonl"\n'
        )
        command("job", "job.toml", "-j1", code=code)
        namespace = {}
        exec(ODD, namespace)  # noqa: S102 - the very function that the commands have
        flow = Stream.read(name, record_format).map(namespace["odd"], on_error="skip", drop_none=drop_none)
        report = run(flow.to("stream.jsonl"))
        written = [(folder / f"{each}.jsonl").read_text() for each in ("run", "job", "stream")]
        assert report.nodes["odd"].items_out == len(written[2].splitlines()) == report.items_out
        return written

    return go


@pytest.mark.parametrize("record_format", INPUTS)
def test_drop_none_gives_what_run_gives(both, record_format):
    by_run, by_job, by_stream = both(record_format, drop_none=True)
    assert by_run == by_job == by_stream
    assert by_run == ("1\n3\n5\n" if record_format in {"lines", "jsonl", "csv"} else "1\n")


@pytest.mark.parametrize("record_format", ["jsonl", "csv"])
def test_by_default_a_job_and_a_stream_write_null(both, record_format):
    assert both(record_format, drop_none=False) == ["1\n3\n5\n", *["1\nnull\n3\n5\n"] * 2]


def test_an_inline_step_keeps_none(tmp_path):
    run(Stream([1, 2, 3]).map_inline(odd).to(tmp_path / "stream.jsonl"))
    assert (tmp_path / "stream.jsonl").read_text() == "1\nnull\n3\n"


def test_both_helps_say_it(command):
    for name in ("run", "job"):
        told = " ".join(command(name, "--help").stdout.decode().split())
        assert "Stream.map and Pool.map" in told
        assert "drop_none = true" in told
