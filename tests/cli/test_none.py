"""What None means: `run` drops the record, a job and a stream keep the value; the help of `run` says both."""

from orchestrator import Stream, run


def odd(n):
    return None if n % 2 == 0 else n


def test_run_drops_none_and_a_job_and_a_stream_write_null(folder, command):
    (folder / "in.jsonl").write_text("1\n2\n3\n")
    (folder / "n.py").write_text("def odd(n): return None if n % 2 == 0 else n\n")
    command("run", "n.py:odd", "in.jsonl", "--format", "jsonl", "-o", "run.jsonl", "-j1")
    (folder / "job.toml").write_text(
        '[source.s]\nread = "in.jsonl"\nformat = "jsonl"\n[step.f]\nfrom = "s"\nmap = "n.py:odd"\n[sink.out]\nfrom = "f"\nwrite = "job.jsonl"\n'
    )
    command("job", "job.toml", "-j1")
    run(Stream([1, 2, 3]).map_inline(odd).to(folder / "stream.jsonl"))
    assert (folder / "run.jsonl").read_text() == "1\n3\n"
    assert (folder / "job.jsonl").read_text() == (folder / "stream.jsonl").read_text() == "1\nnull\n3\n"
    told = " ".join(command("run", "--help").stdout.decode().split())
    assert "None drops the record here; in a job file, and in Stream.map and Pool.map, None is a value" in told
