import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.evaluate.transferability import h_score, logme


def sample(n: int, d: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in which classes lie so far apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.standard_normal((n, d)) + strength * np.eye(3, d)[y]
    return X.astype(np.float32), y


@pytest.mark.parametrize(("n", "d"), [(60, 8), (40, 100)])
def test_logme_is_the_greatest_evidence_there_is(n: int, d: int) -> None:
    """Against the density of the labels themselves, maximised by a general method."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    X, y = sample(n, d, 2, 0)
    wide = X.astype(float)
    greatest = []
    for code in np.unique(y):

        def improbability(logs: np.ndarray, target: np.ndarray) -> float:
            spread = np.exp(-logs[0]) * wide @ wide.T + np.exp(-logs[1]) * np.eye(n)
            return -multivariate_normal(np.zeros(n), spread).logpdf(target)

        found = minimize(improbability, [0.0, 0.0], (y == code,), method="Nelder-Mead")
        greatest.append(-found.fun / n)
    assert logme(X, y) == pytest.approx(np.mean(greatest), abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(9, 60), d=st.integers(3, 60), scale=st.floats(0.01, 100), seed=st.integers(0, 99)
)
def test_neither_score_depends_on_scale_or_order(n: int, d: int, scale: float, seed: int) -> None:
    X, y = sample(n, d, 2, seed)
    order = np.random.default_rng(seed).permutation(n)
    for score in (logme, h_score):
        expected = score(X, y)
        assert score(X[order], y[order]) == pytest.approx(expected, rel=1e-2, abs=1e-2)
        assert score(X * np.float32(scale), y) == pytest.approx(expected, rel=1e-2, abs=1e-2)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(30, 90), d=st.integers(3, 200), seed=st.integers(0, 99))
def test_both_scores_are_higher_for_features_that_tell_classes_apart(
    n: int, d: int, seed: int
) -> None:
    near, far = sample(n, d, 0, seed), sample(n, d, 20, seed)
    assert logme(*far) > logme(*near)
    assert 0 <= h_score(*near) < h_score(*far) <= 2


def test_features_that_are_all_the_same_say_nothing_and_break_nothing() -> None:
    X, y = np.ones((30, 5), np.float32), np.arange(30) % 3
    assert np.isfinite(logme(X, y))
    assert h_score(X, y) == pytest.approx(0)
