"""The peak memory of all workers counts a page once that they share."""

from support.scripts import run_script, succeeded

MODULE = """
MANY = bytearray(b"x") * (100 << 20)

def read(_):
    return MANY.count(b"x")
"""
FORKED = """
from many import MANY, read
from orchestrator import Pool

with Pool(4, start_method="fork") as pool:
    assert set(pool.map(read, range(40), chunk=1)) == {len(MANY)}
print(pool.stats().worker_peak_rss_bytes >> 20)
"""
OWN = """
from orchestrator import Pool

def hold(megabytes):
    return len(bytearray(b"x") * (megabytes << 20))

with Pool(1) as pool:
    pool.submit(hold, 80).result()
    pool.submit(hold, 1).result()
print(pool.stats().worker_peak_rss_bytes >> 20)
"""


def test_memory_that_forked_workers_share_is_counted_once(tmp_path):
    (tmp_path / "many.py").write_text(MODULE)
    assert 30 < int(succeeded(run_script(tmp_path, FORKED))) < 250  # four times 100 without that


def test_a_peak_of_its_own_counts_in_full_even_when_it_is_over(tmp_path):
    assert int(succeeded(run_script(tmp_path, OWN))) > 40
