"""Bases, taps and sizes are found by name, and a wrong one is answered with the right ones."""

import pytest

from bottleneck.bases.registry import BASES, Base, find_base, find_size, find_tap
from bottleneck.errors import BottleneckError

INCEPTION = BASES["inception_v3"]


@pytest.mark.parametrize("base", BASES.values(), ids=list(BASES))
def test_every_base_is_found_by_its_name_with_its_highest_tap_and_own_size(base: Base) -> None:
    assert find_base(base.name) is base
    assert find_tap(base, None) == base.taps[-1]
    assert find_size(base, None) == base.image_size
    assert all(find_tap(base, tap) == tap for tap in base.taps)
    assert find_size(base, base.min_size) == base.min_size


@pytest.mark.parametrize("name", ["inceptionv3", "Inception-V3", "inception_v33", "inception"])
def test_an_unknown_base_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(BottleneckError) as caught:
        find_base(name)
    assert f"unknown base {name!r}; did you mean" in str(caught.value)
    assert "inception_v3" in str(caught.value).split("?")[0]
    assert "--base" in str(caught.value)


@pytest.mark.parametrize("name", ["", "zzz", "🐈"])
def test_a_name_near_to_no_base_is_answered_with_all_of_them(name: str) -> None:
    with pytest.raises(BottleneckError) as caught:
        find_base(name)
    assert "did you mean" not in str(caught.value)
    assert str(caught.value).endswith(f"Give one with --base: {', '.join(BASES)}")


@pytest.mark.parametrize("size", [74, 1, 0, -299])
def test_a_size_below_the_least_is_refused_with_the_least(size: int) -> None:
    expected = rf"image size {size} is too small .* 75 pixels .* on 299\); .* --image-size"
    with pytest.raises(BottleneckError, match=expected):
        find_size(INCEPTION, size)
