"""Algorithms in several passes, run by all workers together, against the same in one process."""

import numpy as np
import pytest

import workers
from orchestrator import Pool

PARTITIONS = 4


def split(array):
    return np.array_split(array, PARTITIONS)


def mine(partitions):
    """The partitions of this worker: always the same number of them, however many workers there are."""
    here = workers.current()
    return {n: part for n, part in enumerate(partitions) if n % len(here.all_gather(None)) == here.id}


def folded(values):
    """Everybody's values by partition, summed in the order of the partitions: the same to the last bit."""
    by_partition = {}
    for gathered in workers.current().all_gather(values):
        by_partition.update(gathered)
    return sum_in_order([by_partition[n] for n in sorted(by_partition)])


def sum_in_order(values):
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def assign(points, centres):
    """One pass of k-means over a partition: sums and counts of the points nearest to each centre, one array."""
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1)
    sums = np.zeros((len(centres), points.shape[1] + 1))
    np.add.at(sums[:, :-1], nearest, points)
    np.add.at(sums[:, -1], nearest, 1)
    return sums


def moved(sums, centres):
    counts = sums[:, -1:]
    return np.where(counts > 0, sums[:, :-1] / np.maximum(counts, 1), centres)


def k_means(points, centres, passes):
    partitions = mine(split(points.get()))
    for _ in range(passes):
        centres = moved(folded({n: assign(part, centres) for n, part in partitions.items()}), centres)
    return centres


@pytest.mark.parametrize("count", [1, 2, 4])
def test_k_means_is_the_same_to_the_last_bit(count):
    points = np.random.default_rng(3).normal(size=(20_000, 4))
    expected = centres = points[:5]
    for _ in range(2):
        expected = moved(sum_in_order([assign(part, expected) for part in split(points)]), expected)
    with Pool(workers=count) as pool:
        results = pool.run_on_all(k_means, pool.share(points), centres, 2)
    assert [result.tobytes() for result in results] == [expected.tobytes()] * count


def page_rank(links, damping, rounds):
    """Each worker owns the pages whose number it divides by the workers; ranks of all are exchanged every round."""
    here = workers.current()
    links = links.get()
    count = len(links)
    ranks = np.full(count, 1 / count)
    for _ in range(rounds):
        given = np.zeros(count)
        for page in range(here.id, count, here.pool_size):
            given[links[page]] += ranks[page] / len(links[page])
        ranks = (1 - damping) / count + damping * here.all_reduce(given)
    return ranks


def test_page_rank():
    chance = np.random.default_rng(5)
    links = [np.unique(chance.integers(0, 200, size=chance.integers(1, 9))) for _ in range(200)]
    matrix = np.zeros((200, 200))
    for page, targets in enumerate(links):
        matrix[targets, page] = 1 / len(targets)
    expected = np.full(200, 1 / 200)
    for _ in range(30):
        expected = 0.15 / 200 + 0.85 * matrix @ expected
    with Pool(workers=3) as pool:
        results = pool.run_on_all(page_rank, pool.share(links), 0.85, 30)
    assert all(np.allclose(ranks, expected, rtol=1e-12, atol=0) for ranks in results)
    assert len({ranks.tobytes() for ranks in results}) == 1


def normalise(rows):
    """Two passes: the mean and deviation of everybody's rows, then each its own rows scaled by them."""
    here = workers.current()
    own = np.array_split(rows.get(), here.pool_size)[here.id]
    count = here.all_reduce(len(own))
    mean = here.all_reduce(own.sum(axis=0)) / count
    deviation = np.sqrt(here.all_reduce(((own - mean) ** 2).sum(axis=0)) / count)
    here.barrier.wait()
    return (own - mean) / deviation


def test_normalising_in_two_passes():
    rows = np.random.default_rng(7).normal(3, 9, size=(10_001, 3))
    with Pool(workers=3) as pool:
        scaled = np.concatenate(pool.run_on_all(normalise, pool.share(rows)))
    assert np.allclose(scaled, (rows - rows.mean(axis=0)) / rows.std(axis=0), rtol=1e-10, atol=1e-12)
