"""The peak memory of all workers counts a page once that they share."""

import pytest

from orchestrator import Pool

MANY = bytearray(b"x") * (100 << 20)


def read(_):
    return MANY.count(b"x")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_memory_that_forked_workers_share_is_counted_once(monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_FORCE_FORK", "1")
    with Pool(4, start_method="fork") as pool:
        assert set(pool.map(read, range(40), chunk=1)) == {len(MANY)}
    assert 30 << 20 < pool.stats().worker_peak_rss_bytes < 250 << 20


def hold(megabytes):
    return len(bytearray(b"x") * (megabytes << 20))


def test_a_peak_of_its_own_counts_in_full_even_when_it_is_over():
    with Pool(1) as pool:
        pool.submit(hold, 80).result()
        pool.submit(hold, 1).result()
    assert pool.stats().worker_peak_rss_bytes > 40 << 20
