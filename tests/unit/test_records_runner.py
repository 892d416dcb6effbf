"""What the worker makes of a chunk: results encoded, failures found and placed, nothing ended silently."""

import json
import pickle

import pytest

from workers.records import compression
from workers.records.blocks import KEPT_FAILURES, Block, ByteRange, Head, Origin, Paths, RecordError
from workers.records.formats.json_text import to_json
from workers.records.formats.registry import find
from workers.records.reading.block_runner import RecordRunner

FUNCTIONS = """
import json
def upper(s): return s.upper()
def drop_b(s): return None if s == "b" else s
def stop(s):
    if s == "b": raise StopIteration
    return s
def leave(s):
    if s == "b": raise SystemExit(3)
    return s
def fail(s):
    if s in "bd":
        helper(s)
    return s
def helper(s): raise ValueError(f"no {s}")
def same(x): return x
def size(x): return len(x)
def raw(x): return b"<" + (x if isinstance(x, bytes) else x.encode()) + b">"
def mixed(s): return {"a": 1, "b": "text", "c": {"d": "\\u00e4"}, "e": [1, None], "f": b"bytes"}.get(s)
def a_set(s): return {"k": 1j} if s == "b" else {"k": s}
def surrogate(s): return "\\ud800" if s == "b" else s
def words(s): return s.split()
def words_then_fail(s):
    yield s
    if s == "b": raise KeyError("late")
def bad_str(s):
    class Bad(Exception):
        def __str__(self): raise RuntimeError
    raise Bad
def swap(row): return {"y": row["b"], "x": row["a"]}
def ragged(row): return {"x": 1} if row["a"] == "1" else {"x": 1, "z": 2}
"""


def runner_of(target, folder, record_format="lines", output_format="lines", **options):
    options["record_format"] = find(record_format, errors=options.pop("errors", None))
    return RecordRunner(target, folder, output_format=find(output_format), **options)


@pytest.fixture
def run(tmp_path, request):
    stem = f"functions_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{stem}.py").write_text(FUNCTIONS)

    def call(function, data, *, start=0, first_line=1, fieldnames=None, **options):
        runner = pickle.loads(pickle.dumps(runner_of(f"{stem}.py:{function}", str(tmp_path), **options)))
        block = Block(
            Origin(0, "in.txt", 0, 0, True, len(data)),
            pickle.PickleBuffer(data),
            start,
            first_line,
            None if fieldnames is None else Head(names=fieldnames),
        )
        return runner(pickle.loads(pickle.dumps(block, 5)))

    return call


def payload(result):
    return b"" if result.payload is None else bytes(memoryview(result.payload))


def counts(result):
    return result.records_in, result.records_out, result.dropped, result.failed


def test_lines_are_transformed_and_counted(run):
    result = run("upper", b"a\nb\r\nc")
    assert (payload(result), counts(result)) == (b"A\nB\nC\n", (3, 3, 0, 0))


def test_none_drops(run):
    result = run("drop_b", b"a\nb\nc\n")
    assert (payload(result), counts(result)) == (b"a\nc\n", (3, 2, 1, 0))


def test_everything_dropped_is_no_payload(run):
    assert run("drop_b", b"b\nb\n").payload is None


@pytest.mark.parametrize(("function", "error"), [("stop", "StopIteration"), ("leave", "SystemExit")])
def test_what_would_end_a_loop_silently_is_a_failure(run, function, error):
    result = run(function, b"a\nb\nc\nb\n", on_error="skip")
    assert (payload(result), counts(result)) == (b"a\nc\n", (4, 2, 0, 2))
    assert [(f.error, f.line) for f in result.failures] == [(error, 2), (error, 4)]
    with pytest.raises(RecordError, match=r"in\.txt, line 2: " + error):
        run(function, b"a\nb\nc\n")


def test_a_failure_knows_line_offset_and_the_users_frames_only(run):
    with pytest.raises(RecordError) as caught:
        run("fail", b"a\nc\nb\n", start=100, first_line=11)
    failure = pickle.loads(pickle.dumps(caught.value)).failure
    assert (failure.path, failure.line, failure.byte_offset, failure.error, failure.text) == (
        "in.txt",
        13,
        104,
        "ValueError",
        "no b",
    )
    assert "in fail" in failure.traceback
    assert "in helper" in failure.traceback
    assert "records.py" not in failure.traceback
    assert failure.traceback.count("File ") == 2


def test_only_the_first_failures_are_kept_but_all_are_counted(run):
    result = run("fail", b"b\na\n" * 500, on_error="skip")
    assert counts(result) == (1000, 500, 0, 500)
    assert [f.line for f in result.failures] == [1 + 2 * i for i in range(KEPT_FAILURES)]


def test_an_exception_whose_text_raises_is_still_a_failure(run):
    assert run("bad_str", b"a\n", on_error="skip").failures[0].error == "Bad"


def test_results_of_all_kinds_are_lines(run):
    result = run("mixed", b"a\nb\nc\nd\ne\nf\n")
    assert payload(result).decode() == '1\ntext\n{"d": "ä"}\n[1, null]\nbytes\n'
    assert counts(result) == (6, 5, 1, 0)


def test_a_result_that_is_no_json_is_that_records_failure(run):
    result = run("a_set", b"a\nb\nc\n", on_error="skip")
    assert payload(result) == b'{"k": "a"}\n{"k": "c"}\n'
    assert result.failures[0].line == 2
    assert "complex" in result.failures[0].text


def test_text_that_has_no_utf8_is_that_records_failure(run):
    result = run("surrogate", b"a\nb\nc\n", on_error="skip")
    assert (payload(result), result.failures[0].line) == (b"a\nc\n", 2)


def test_json_keeps_half_a_surrogate_pair_as_an_escape(run):
    assert (
        payload(run("same", b'{"a": "\\ud800"}\n["\xc3\xa4"]\n', record_format="jsonl"))
        == b'{"a": "\\ud800"}\n["\xc3\xa4"]\n'
    )


def test_json_lines_skip_blank_ones_and_name_the_line_of_a_bad_one(run):
    result = run("same", b'1\n\n  \n[2\n{"a": 3}', record_format="jsonl", on_error="skip")
    assert (payload(result), counts(result)) == (b'1\n{"a": 3}\n', (3, 2, 0, 1))
    assert (result.failures[0].line, result.failures[0].byte_offset, result.failures[0].traceback) == (
        4,
        6,
        "",
    )


def test_undecodable_bytes_name_their_offset(run):
    data = b"ab\n\xffx\nc\n"
    with pytest.raises(RecordError, match="byte 0xff at offset 103 is not UTF-8") as caught:
        run("upper", data, start=100)
    assert caught.value.failure.line == 2
    skipped = run("upper", data, on_error="skip")
    assert (payload(skipped), counts(skipped)) == (b"AB\nC\n", (3, 2, 0, 1))
    assert payload(run("upper", data, errors="replace")).decode() == "AB\n\ufffdX\nC\n"


def test_undecodable_csv_rows_can_be_left_out(run):
    data = b'1,"a\nb"\n2,\xff\n3,c\n'
    result = run(
        "same", data, record_format="csv", output_format="csv", fieldnames=("a", "b"), on_error="skip"
    )
    assert (payload(result), counts(result)) == (b'1,"a\nb"\n3,c\n', (3, 2, 0, 1))
    assert result.failures[0].line == 3


def test_flat_results(run):
    result = run("words", b"a b\n\nc\n", flat=True)
    assert (payload(result), counts(result)) == (b"a\nb\nc\n", (3, 3, 1, 0))


def test_a_generator_that_fails_late_is_one_failure_with_its_frames(run):
    result = run("words_then_fail", b"a\nb\nc\n", flat=True, on_error="skip")
    assert (payload(result), counts(result)) == (b"a\nc\n", (3, 2, 0, 1))
    assert "words_then_fail" in result.failures[0].traceback


def test_a_string_is_no_iterable_of_records(run):
    with pytest.raises(RecordError, match="not str"):
        run("upper", b"a\n", flat=True)


def test_a_generator_without_flat_says_flat(run):
    with pytest.raises(RecordError, match="--flat"):
        run("words_then_fail", b"a\n")


def test_csv_rows_out_have_the_first_results_columns(run):
    result = run("swap", b'1,"p,q"\n2,r\n', record_format="csv", output_format="csv", fieldnames=("a", "b"))
    assert (payload(result), result.names) == (b'"p,q",1\nr,2\n', ("y", "x"))


def test_a_row_with_other_columns_is_that_records_failure(run):
    data = b"1,x\n2,x\n1,x\n"
    result = run(
        "ragged", data, record_format="csv", output_format="csv", fieldnames=("a", "b"), on_error="skip"
    )
    assert (payload(result), counts(result), result.failures[0].line) == (b"1\n1\n", (3, 2, 0, 1), 2)


def test_a_csv_failure_counts_lines_inside_quotes(run):
    data = b'1,"x\ny\nz"\n\n2,x\n'
    result = run(
        "ragged", data, record_format="csv", output_format="csv", fieldnames=("a", "b"), on_error="skip"
    )
    assert result.failures[0].line == 5


def test_blocks_are_bytes_and_bytes_are_written_as_they_are(run):
    assert payload(run("raw", b"\xff\x00", record_format="blocks")) == b"<\xff\x00>"
    assert payload(run("raw", b"", record_format="blocks")) == b""


def test_paths_are_records_and_failures_name_the_path(tmp_path, run):
    runner = runner_of("builtins:len", str(tmp_path), record_format="files")
    assert payload(runner(Paths(Origin(0, "aa", 0, 0, True, 0), ("aa", "bbb")))) == b"2\n3\n"
    runner = runner_of("builtins:int", str(tmp_path), record_format="files", on_error="skip")
    result = runner(Paths(Origin(0, "1", 0, 0, True, 0), ("1", "bbb")))
    assert [(f.path, f.line, f.traceback) for f in result.failures] == [("bbb", None, "")]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_compressed_blocks_put_together_are_one_file(run, kind):
    if kind == "zst":
        pytest.importorskip("zstandard")
    pieces = [payload(run("upper", data, compression=kind)) for data in (b"a\n", b"b\nc\n")]
    assert compression.decompress(kind, b"".join(pieces)) == b"A\nB\nC\n"


def test_a_file_that_is_gone_is_told(tmp_path):
    origin = Origin(0, str(tmp_path / "gone"), 0, 0, last_of_file=True, size_bytes=1)
    with pytest.raises(RecordError, match="No such file"):
        runner_of("builtins:len", str(tmp_path))(ByteRange(origin, 0, 1))


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True]}, "ä\n", 3, {1: 2}, float("inf"), [], {}, {"k": ()}]
)
def test_to_json_is_json_dumps(value):
    assert to_json(value) == json.dumps(value, ensure_ascii=False)
