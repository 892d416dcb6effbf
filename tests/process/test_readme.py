"""The README's Python is run as it stands there, over small data, and gives what plain Python gives."""

import csv
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from orchestrator import Pool, Stream

README = Path(__file__).parents[2] / "README.md"


def blocks():
    text = README.read_text(encoding="utf-8").replace("10_000_000", "10_000")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block(containing):
    [found] = [each for each in blocks() if containing in each]
    return compile(found, "README.md", "exec")


def clean(record):
    return {**record, "ms": record["ms"] * 10}


def is_error(record):
    return record["status"] >= 500


def is_slow(record):
    return record["ms"] > 5000


def average(window):
    return sum(record["ms"] for record in window) / len(window)


def user_of(record):
    return record["user"]


def validate(record):
    if "score" not in record:
        raise ValueError("no score")
    return record


def needs_it(record):
    return record["check"]


def enrich(record):
    return {**record, "name": record["names"][0]}


def to_line(record):
    return f"{record['name']} {record['score']}"


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    functions = (clean, is_error, is_slow, average, user_of, validate, needs_it, enrich, to_line)
    return {"__name__": "readme"} | {each.__name__: each for each in functions}


def test_the_pool(names, capfd):
    exec(block("pool.submit"), names)
    assert names["y"] == 9_999**2
    assert names["future"].result() == 49
    assert len(set(names["pids"])) == len(names["pids"])
    assert "10000/10000" in capfd.readouterr().err


def test_the_options_of_a_map(names):
    with Pool(2) as pool:
        names |= {"pool": pool, "f": max, "xs": [[1], [2]], "ys": [[3], [4]]}
        exec("import orchestrator", names)
        exec(block("retry_delay"), names)


def test_the_flow_at_the_head(names, tmp_path):
    records = [
        {"user": f"u{n % 7}", "status": 500 if n % 11 == 0 else 200, "ms": n * 7 % 1000} for n in range(1000)
    ]
    (tmp_path / "logs").mkdir()
    for part in (0, 1):
        with gzip.open(tmp_path / f"logs/{part}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(record) + "\n" for record in records[part * 500 : part * 500 + 500])
    with open(tmp_path / "users.csv", "w", newline="") as file:
        csv.writer(file).writerows([["user", "city"], ["u1", "Bonn"], ["u2", "Kiel"]])

    exec(block("Stream.read("), names)

    def lines(name):
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    cleaned = [clean(record) for record in records]
    slow = [record for record in cleaned if is_slow(record)]
    rest = [record for record in cleaned if not is_slow(record) and not is_error(record)]
    assert lines("backup.jsonl") == cleaned
    assert lines("errors.jsonl") == [record for record in cleaned if is_error(record)]
    assert lines("slow.txt") == [average(slow[at : at + 100]) for at in range(0, len(slow), 10)]
    cities = {"u1": "Bonn", "u2": "Kiel"}
    expected = [{**record, "city": cities[record["user"]]} for record in rest if record["user"] in cities]
    assert sorted(map(str, lines("rest.jsonl"))) == sorted(map(str, expected))
    assert names["report"].nodes["clean"].items_out == 1000


def test_the_moving_average_the_totals_and_the_workflow(names):
    records = [{"names": [f"n{n}"], "score": n / 10, "check": n % 2 == 0} for n in range(10)]
    records[3] = {"names": ["unchecked"], "check": False, "score": 0.9}
    records[4] = {"names": ["no score"], "check": True}
    with Pool(2) as pool:
        names |= {
            "pool": pool,
            "prices": [3.0, 5.0, 4.0, 8.0],
            "one": Stream([1, 2, 3]),
            "other": Stream(iter([10, 20])),
            "lines": map(json.dumps, records),
        }
        exec("import json; from collections import Counter; from orchestrator import Stream, Workflow, run", names)
        exec(block("multiplex"), names)
    assert names["means"] == [4.0, 17 / 3]
    assert names["totals"] == Counter(a=6, b=30)
    scored = [record for n, record in enumerate(records) if n != 4]
    assert names["kept"] == [to_line(enrich(record)) for record in scored if record["score"] > 0.5]
