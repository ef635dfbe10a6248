import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from bottleneck.evaluate.pairs import holm, mcnemar

RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(RIGHT)
def test_whether_two_heads_differ_does_not_depend_on_which_is_named_first(
    pairs: list[tuple[bool, bool]],
) -> None:
    first, second = (np.array([pair[i] for pair in pairs], bool) for i in (0, 1))
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there.p == pytest.approx(back.p)
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert 0 < there.p <= 1
    assert mcnemar(first, first).p == 1


@given(RIGHT, st.integers(0, 10))
def test_images_on_which_both_are_right_or_both_wrong_say_nothing(
    pairs: list[tuple[bool, bool]], more: int
) -> None:
    first, second = (np.array([pair[i] for pair in pairs], bool) for i in (0, 1))
    padding = np.arange(more) % 2 == 0
    longer = mcnemar(np.append(first, padding), np.append(second, padding))
    assert longer == mcnemar(first, second)


def test_with_many_images_the_exact_test_is_the_chi_square_of_mcnemar() -> None:
    first, second = np.arange(20_000) % 5 > 0, np.arange(20_000) % 7 > 0
    found = mcnemar(first, second)
    statistic = (abs(found.only_first - found.only_second) - 1) ** 2 / (
        found.only_first + found.only_second
    )
    assert found.p == pytest.approx(chi2.sf(statistic, 1), rel=0.05)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_corrected_probabilities_are_larger_and_in_the_same_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)
    if len(p) == 1:
        assert corrected == p
