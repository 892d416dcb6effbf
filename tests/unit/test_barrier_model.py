"""All interleavings of the barrier's model; `support/barrier_model.py` says what a step is."""

import pytest
from support.barrier_model import explore

CASES = [(3, 3, 0), (3, 3, 1), (3, 2, 0), (3, 2, 1), (2, 3, 0), (2, 3, 1)]


@pytest.mark.parametrize(("parties", "resized", "deaths"), CASES)
def test_no_interleaving_hangs_or_lets_a_party_ahead(parties, resized, deaths):
    worlds, fault = explore(parties, resized, deaths)
    assert fault is None
    assert worlds > 1000


@pytest.mark.parametrize("mistake", ["ring_first", "state_first", "count_first", "kept_mutex"])
def test_a_seeded_mistake_is_found(mistake):
    assert explore(3, 2, 1, mistake)[1] is not None
