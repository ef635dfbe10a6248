import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.evaluate.intervals import estimate
from bottleneck.runs.metrics import METRICS, measure
from tests.runs.test_metrics import draw


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), classes=st.integers(2, 5))
def test_an_interval_holds_the_figure_it_belongs_to(seed: int, n: int, classes: int) -> None:
    y, p = draw(seed, n, classes)
    (found,) = estimate(y, [p], 1, seed)
    assert tuple(found) == METRICS
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        assert found[name].value == pytest.approx(getattr(measure(y, p), name))
    for figure in found.values():
        assert 0 <= figure.low <= figure.value <= figure.high


def test_the_same_seed_gives_the_same_intervals_and_another_head_beside_it_changes_nothing() -> (
    None
):
    y, p = draw(1, 80, 3)
    other = draw(2, 80, 3)[1]
    alone = estimate(y, [p], 1, seed=7)[0]
    assert estimate(y, [p, other], 1, seed=7)[0] == alone
    assert estimate(y, [other, p], 1, seed=7)[1] == alone
    assert estimate(y, [p], 1, seed=8)[0] != alone


def test_nineteen_intervals_in_twenty_hold_the_accuracy_that_the_images_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(60):
        right = rng.random(150) < 0.8
        y = np.zeros(150, np.int64)
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9]).astype(np.float32)
        accuracy = estimate(y, [p], 1, trial)[0]["accuracy"]
        held += accuracy.low <= 0.8 <= accuracy.high
    assert held >= 53  # fewer happen once in a hundred times


def test_more_images_make_intervals_narrower() -> None:
    widths = []
    for n in (100, 10_000):
        y, p = draw(5, n, 4)
        accuracy = estimate(y, [p], 1, 0)[0]["accuracy"]
        widths.append(accuracy.high - accuracy.low)
    assert widths[1] < widths[0] / 5
