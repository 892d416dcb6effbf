"""One CSV output of the rows of many blocks: its header once, its columns in one order, and as it was when resumed."""

import gzip

import pytest

from workers.records.formats.composing import MisfitError
from workers.records.formats.rows.columns import Columns


@pytest.mark.parametrize("kind", [None, "gz"])
def test_blocks_get_the_columns_of_the_first(kind):
    packed = gzip.compress if kind else bytes
    columns = Columns(kind, ";")
    found = [columns.add(memoryview(packed(data)), names, "in") for data, names in (
        (b'1;"x\ny"\n', ("a", "b")),
        (b'"p;q";2\n', ("b", "a")),
        (b"as it is\n", None),
    )]  # fmt: skip
    written = b"".join(bytes(part) for before, block in found for part in (before, block))
    text = b'a;b\n1;"x\ny"\n2;"p;q"\nas it is\n'
    assert (gzip.decompress(written) if kind else written) == text
    with pytest.raises(MisfitError, match="has the columns a, b, but results for in have a, c"):
        columns.add(memoryview(b""), ("a", "c"), "in")


@pytest.mark.parametrize(("blocks", "end"), [([], b"x,y\n"), ([None], b""), ([("a",)], b"")])
def test_a_resumed_output_has_the_header_of_the_input_only_without_rows(blocks, end):
    before = Columns(None)
    before.of_input = ("x", "y")
    for names in blocks:
        before.add(memoryview(b"1\n"), names, "in")
    after = Columns(None)
    after.restore(before.snapshot())
    assert after.finish() == end
