"""All interleavings of the barrier's model; `support/barrier_model.py` says what a step is."""

import os

import pytest
from support.barrier_model import explore

CASES = [(3, 2, 2), (2, 3, 2), (3, 3, 2)]  # the death may happen at any step or not at all
if "CHAOS_SEED" in os.environ:  # scripts/chaos model
    CASES += [(3, 2, 3), (2, 3, 3), (2, 2, 3), (3, 3, 3)]


@pytest.mark.parametrize(("parties", "resized", "phases"), CASES)
def test_no_interleaving_hangs_or_lets_a_party_ahead(parties, resized, phases):
    worlds, fault = explore(parties, resized, deaths=1, phases=phases)
    assert fault is None
    assert worlds > 50_000


@pytest.mark.parametrize("mistake", ["ring_first", "state_first", "count_first", "kept_mutex"])
def test_a_seeded_mistake_hangs(mistake):
    assert "stuck for ever" in (explore(3, 2, deaths=1, mistake=mistake)[1] or "")


def test_without_the_mark_of_a_release_that_was_cut_off_a_party_gets_ahead():
    assert "two phases ahead" in (explore(3, 3, deaths=1, phases=2, mistake="no_mark")[1] or "")
