"""scipy's `workers=` takes `Pool.map`: a lazy iterator serves where it expects a list or an iterator."""

import numpy as np
import pytest

from orchestrator import Pool

optimize = pytest.importorskip("scipy.optimize")
integrate = pytest.importorskip("scipy.integrate")
BOUNDS = [(-2.0, 2.0), (-1.0, 3.0)]


def rosenbrock(x):
    return float((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)


def gauss(x):
    return np.exp(-(x**2).sum(axis=-1))


def fail(_):
    raise KeyError("missing")


@pytest.fixture
def pool():
    with Pool(2) as made:
        yield made


def test_differential_evolution(pool):
    options = {"updating": "deferred", "maxiter": 5, "popsize": 5, "polish": False}
    found = optimize.differential_evolution(rosenbrock, BOUNDS, workers=pool.map, rng=1, **options)
    alone = optimize.differential_evolution(rosenbrock, BOUNDS, rng=1, **options)
    assert np.array_equal(found.x, alone.x)
    assert found.nfev == alone.nfev
    assert pool.stats().items >= found.nfev


def test_brute(pool):
    options = {"Ns": 9, "full_output": True, "finish": None}
    found = optimize.brute(rosenbrock, BOUNDS, workers=pool.map, **options)
    alone = optimize.brute(rosenbrock, BOUNDS, **options)
    assert all(np.array_equal(one, other) for one, other in zip(found, alone, strict=True))


def test_quad_vec_and_cubature(pool):
    assert integrate.quad_vec(np.exp, 0, 1, workers=pool.map)[0] == pytest.approx(np.e - 1)
    found = integrate.cubature(gauss, [-3.0, -3.0], [3.0, 3.0], workers=pool.map)
    assert found.estimate == pytest.approx(np.pi, rel=1e-3)


def test_minimize_with_parallel_gradient(pool):
    found = optimize.minimize(rosenbrock, [0.0, 0.0], method="L-BFGS-B", options={"workers": pool.map})
    assert found.x == pytest.approx([1, 1], abs=1e-3)


def test_a_failure_ends_it_and_leaves_the_pool_usable(pool):
    with pytest.raises(Exception) as caught:
        optimize.brute(fail, BOUNDS, workers=pool.map)
    assert "missing" in str(caught.value) or isinstance(caught.value.__cause__, KeyError)
    assert list(pool.map(abs, [-1])) == [1]
