"""Blocks are small enough that all workers get some, and large enough that they cost little."""

from orchestrator.sources.block_sizes import SMALLEST_BYTES, block_bytes_for
from orchestrator.sources.inputs import Input

MOST = 1 << 20


def plain(*sizes):
    return [Input(f"{size}", size, None, is_regular=True) for size in sizes]


def test_as_many_blocks_as_are_wanted_within_bounds():
    assert block_bytes_for(plain(640_000), 64, MOST) == 10_000
    assert block_bytes_for(plain(600_000, 40_000), 64, MOST) == 10_000
    assert block_bytes_for(plain(10), 64, MOST) == SMALLEST_BYTES
    assert block_bytes_for(plain(10), 64, MOST, 65_536) == 65_536
    assert block_bytes_for(plain(1 << 40), 64, MOST) == MOST
    assert block_bytes_for([], 64, MOST) == SMALLEST_BYTES


def test_what_a_compressed_file_holds_is_guessed_and_of_a_pipe_nothing_is_known():
    packed = Input("a.gz", 16_000, "gzip", is_regular=True)
    assert block_bytes_for([packed], 64, MOST) == 1000
    assert block_bytes_for([*plain(10), Input("-", None, None, is_regular=False)], 64, MOST) == MOST
