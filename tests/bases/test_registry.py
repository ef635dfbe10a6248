"""Bases, taps and sizes are found by name, and a wrong one is answered with the right ones."""

import itertools
import re

import pytest

from bottleneck.bases.base import Base, find_size, find_tap
from bottleneck.bases.registry import APPLICATIONS, BASES, find_base
from bottleneck.errors import BottleneckError

INCEPTION = BASES["inception_v3"]


@pytest.mark.parametrize("base", BASES.values(), ids=list(BASES))
def test_every_base_is_found_by_its_name_with_its_highest_tap_and_own_size(base: Base) -> None:
    assert find_base(base.name) is base
    assert find_tap(base, None) == find_tap(base, "top") == base.taps[-1]
    assert find_size(base, None) == base.image_size
    assert all(find_tap(base, tap) == tap for tap in base.taps)
    assert find_size(base, base.min_size) == base.min_size


def test_every_network_of_keras_is_found_by_its_class_name() -> None:
    import keras

    # a class is spelt with a capital; beside them are the modules they are in
    classes = {name for name in dir(keras.applications) if name[0].isupper()}
    assert classes == set(APPLICATIONS)
    for name in classes:
        assert find_base(name).builder == f"keras.applications:{name}"


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("InceptionV3", "inception_v3"),
        ("MobileNet", "mobilenet"),
        ("ConvNeXtTiny", "convnext_tiny"),
        ("EfficientNetV2B0", "efficientnet_v2_b0"),
    ],
)
def test_a_class_name_means_the_base_we_have_a_name_for(name: str, base: str) -> None:
    # so that features computed under the one are not computed again under the other
    assert find_base(name) is BASES[base]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("inceptionv3", "inception_v3"),
        ("Inception-V3", "inception_v3"),
        ("inception_v33", "inception_v3"),
        ("inception", "inception_v3"),
        ("densenet121", "DenseNet121"),
        ("vgg-16", "vgg16"),
        ("efficientnetb0", "efficientnet_b0"),
        ("convnext-tiny", "convnext_tiny"),
        ("MobilenetV3Small", "MobileNetV3Small"),
        ("resnet101v2", "ResNet101V2"),
    ],
)
def test_an_unknown_base_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(BottleneckError) as caught:
        find_base(name)
    assert f"unknown base {name!r}; did you mean" in str(caught.value)
    assert near in str(caught.value).split("?")[0]
    assert "--base" in str(caught.value)


@pytest.mark.parametrize("name", ["", "zzz", "🐈"])
def test_a_name_near_to_no_base_is_answered_with_where_to_find_them(name: str) -> None:
    with pytest.raises(BottleneckError) as caught:
        find_base(name)
    assert "did you mean" not in str(caught.value)
    assert "bottleneck bases list" in str(caught.value)


def test_a_base_of_ours_takes_no_other_preprocessing() -> None:
    with pytest.raises(BottleneckError, match="vgg16 has its own preprocessing; leave --pre"):
        find_base("vgg16", "tf")


def test_blocks_that_are_not_listed_cannot_be_dropped() -> None:
    said = "--drop-blocks cannot count them; name a layer with --tap, .* bases show DenseNet121"
    with pytest.raises(BottleneckError, match=said):
        find_tap(find_base("DenseNet121"), None, 1)


@pytest.mark.parametrize(
    ("name", "dropped", "tap"),
    [
        ("efficientnet_b0", 1, "block7a_project_bn"),
        ("efficientnet_b0", 16, "block1a_project_bn"),
        ("efficientnet_v2_s", 1, "block6o_add"),
        ("convnext_tiny", 1, "stage_3_block_1"),
    ],
)
def test_blocks_of_the_families_are_counted_from_the_top(name: str, dropped: int, tap: str) -> None:
    assert find_tap(BASES[name], None, dropped) == tap


def test_larger_members_of_a_family_have_more_blocks_and_take_larger_images() -> None:
    for family in ("efficientnet_b", "efficientnet_v2_b", "efficientnet_v2_[sml]"):
        members = [base for name, base in BASES.items() if re.match(family, name)]
        assert len(members) >= 3
        for smaller, larger in itertools.pairwise(members):
            assert len(smaller.taps) <= len(larger.taps)
            assert smaller.image_size <= larger.image_size


@pytest.mark.parametrize("size", [74, 1, 0, -299])
def test_a_size_below_the_minimum_is_an_error_that_names_it(size: int) -> None:
    expected = rf"image size {size} is too small .* 75 pixels .* on 299\); .* --image-size"
    with pytest.raises(BottleneckError, match=expected):
        find_size(INCEPTION, size)
