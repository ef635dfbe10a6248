import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from bottleneck.runs.metrics import CONFIDENCE_BINS, METRICS, contributions, figures, measure


def draw(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that have something to do with them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 2 * (np.arange(classes) == y[:, None])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, p.astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 60), classes=st.integers(2, 9), k=st.integers(1, 9)
)
def test_metrics_are_those_of_scikit_learn(seed: int, n: int, classes: int, k: int) -> None:
    y, p = draw(seed, n, classes)
    ours = dict(zip(METRICS, figures(contributions(y, p, k).sum(axis=0)[None])[0], strict=True))
    predicted, exact = p.argmax(axis=1), p / p.sum(axis=1, keepdims=True, dtype=np.float64)
    assert ours["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    recalls = [np.mean(predicted[y == c] == c) for c in np.unique(y)]
    assert ours["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    if len(np.unique(y)) > 1:
        assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert ours["macro_f1"] == pytest.approx(
        f1_score(y, predicted, average="macro", zero_division=0)
    )
    assert ours["log_loss"] == pytest.approx(log_loss(y, exact, labels=np.arange(classes)))
    if 2 < classes > k:
        top = top_k_accuracy_score(y, exact, k=k, labels=np.arange(classes))
        assert ours["top_k"] == pytest.approx(top)


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    y, p = draw(3, 500, 4)
    confidence, right = p.max(axis=1).astype(np.float64), p.argmax(axis=1) == y
    edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = figures(contributions(y, p, 1).sum(axis=0)[None])[0]
    assert found[METRICS.index("calibration_error")] == pytest.approx(expected, abs=1e-6)


def test_sure_and_right_is_perfect_and_sure_and_wrong_is_finite() -> None:
    y = np.array([0, 1, 1])
    assert figures(contributions(y, np.eye(2, dtype="f4")[y], 1).sum(axis=0)[None])[0] == (
        pytest.approx([1, 1, 1, 1, 0, 0])
    )
    assert 30 < measure(y, np.eye(2, dtype="f4")[1 - y]).log_loss < 40


def test_equally_probable_classes_count_as_predicted_in_their_order() -> None:
    y, p = np.array([0, 1, 2]), np.full((3, 3), 1 / 3, np.float32)
    for k, share in ((1, 1 / 3), (2, 2 / 3), (3, 1.0)):
        found = figures(contributions(y, p, k).sum(axis=0)[None])[0]
        assert found[METRICS.index("top_k")] == pytest.approx(share)
        assert found[METRICS.index("accuracy")] == pytest.approx(1 / 3)
