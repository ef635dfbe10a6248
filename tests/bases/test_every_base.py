"""What holds for every base there is."""

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bottleneck.bases.base import TOP, Base, find_tap
from bottleneck.bases.families import CLASSES, CONVNEXTS, EFFICIENTNETS, EFFICIENTNETS_V2
from bottleneck.bases.network import build_network, preprocess, tap_tensor
from bottleneck.bases.registry import BASES
from bottleneck.bases.split import find_cuts, split_at
from bottleneck.bases.weights import build_with_weights, find_weights
from bottleneck.errors import BottleneckError

EVERY = [*BASES.values(), *CLASSES]

# The larger members of a family are built like the smallest, and to build all of them takes minutes.
LARGER = {*EFFICIENTNETS[1:], *EFFICIENTNETS_V2[1:], *CONVNEXTS[1:], *CLASSES}
LONG = [pytest.mark.long, pytest.mark.rare]

each_base = pytest.mark.parametrize(
    "base",
    [pytest.param(base, id=base.name, marks=LONG if base in LARGER else []) for base in EVERY],
    indirect=True,
)


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest) -> Base:
    return request.param


@pytest.fixture(scope="module")
def model(base: Base) -> Any:
    """The base with random weights at its least size: built once for all tests of it."""
    import keras

    keras.backend.clear_session()
    return build_with_weights(base, find_weights("random"), base.min_size)


def distance(found: Any, expected: Any) -> float:
    found, expected = map(numpy, (found, expected))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def numpy(tensor: Any) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("base", EVERY, ids=[base.name for base in EVERY])
def test_pixels_are_prepared_as_its_own_library_does(base: Base) -> None:
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    given = keras.Input((8, 8, 3), dtype="uint8")
    ours = keras.Model(given, preprocess(given, base.preprocessing)).predict(pixels, verbose=0)
    if base.builder.startswith("keras."):
        builder = getattr(keras.applications, base.builder.split(":")[1])
        theirs = sys.modules[builder.__module__].preprocess_input(pixels.astype(np.float32))
    else:
        theirs = pixels.astype(np.float32) / 127.5 - 1  # timm's configuration of inception_v4
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@each_base
def test_its_taps_are_maps_from_the_input_up_to_what_a_classifier_is_given(
    base: Base, model: Any
) -> None:
    layers = [layer.name for layer in model.layers]
    named = [tap for tap in base.taps if tap != TOP]
    places = [layers.index(base.before.get(tap, tap)) for tap in named]
    assert places == sorted(places)
    assert all(len(tap_tensor(base, model, tap).shape) == 4 for tap in base.taps)
    assert tap_tensor(base, model, base.taps[-1]) is model.output


@each_base
def test_with_random_weights_it_tells_images_apart(
    base: Base, model: Any, photographs: list[Image.Image]
) -> None:
    size = (base.min_size, base.min_size)
    pixels = np.stack([np.asarray(photograph.resize(size)) for photograph in photographs])
    one, other = numpy(model(preprocess(pixels, base.preprocessing), training=False))
    assert np.isfinite(one).all()
    assert distance(other, one) > 0.01


@each_base
def test_the_lower_and_the_upper_part_make_the_whole_at_every_tap(base: Base, model: Any) -> None:
    import keras

    x = np.random.default_rng(0).uniform(-1, 1, (1, *model.input_shape[1:])).astype(np.float32)
    taps = cuts(base, model)
    halves = [split_at(base, model, tap) for tap in taps]
    # All the lower parts at once. None of it is compiled, or rounding in a deep network would differ.
    maps = [*(lower.output for lower, _ in halves), model.output]
    values = keras.Model(model.input, maps)(x, training=False)
    whole = values[-1]
    # To run each upper part takes long as well. It is what lies between its cut and the next, which is
    # run, and the upper part above that; the lowest is run as a whole.
    for place, (tap, (_, upper)) in enumerate(zip(taps, halves, strict=True)):
        between = keras.Model(maps[place], maps[place + 1])
        found = between(values[place], training=False)
        assert distance(found, values[place + 1]) < 1e-4, tap
        above = operations(halves[place + 1][1]) if place + 1 < len(halves) else set()
        assert operations(upper) == operations(between) | above, tap
        # cut, and not merely the whole once more
        assert len(upper.layers) < len(model.layers)
    first, upper = halves[0]
    assert distance(upper(first(x, training=False), training=False), whole) < 1e-4
    assert distance(upper(0 * values[0], training=False), whole) > 0.1


def operations(model: Any) -> set[int]:
    """What a part of a network does, without the input it begins with."""
    import keras

    inputs = keras.layers.InputLayer
    return {id(step) for step in model.operations if not isinstance(step, inputs)}


def cuts(base: Base, model: Any) -> list[str]:
    """Every tap of the bases that are cut most; of the others the first, one in between, and a high one."""
    if base.taps == (TOP,):
        return list(find_cuts(model))
    in_full = {"inception_v3", "inception_v4", "inception_resnet_v2", "vgg16", "resnet50"}
    step = 1 if base.name in in_full else max(len(base.taps) // 2 - 1, 1)
    return list(base.taps[:-1:step])  # above the last there is nothing


def test_both_parts_share_their_weights_with_the_whole() -> None:
    vgg = build_with_weights(BASES["vgg16"], find_weights("random"), 32)
    lower, upper = split_at(BASES["vgg16"], vgg, "block3_pool")
    shared = [*lower.weights, *upper.weights]
    assert [id(variable) for variable in shared] == [id(variable) for variable in vgg.weights]


@pytest.mark.parametrize(
    ("tap", "said"),
    [
        ("conv3_block2_1_relu", "cannot be cut at conv3_block2_1_relu: a branch or shortcut"),
        ("conv9_block1", "no tap 'conv9_block1'; did you mean"),
    ],
)
def test_a_tap_that_is_bypassed_is_an_error(tap: str, said: str) -> None:
    resnet = build_with_weights(BASES["resnet50"], find_weights("random"), 32)
    with pytest.raises(BottleneckError, match=said):
        split_at(BASES["resnet50"], resnet, tap)


@pytest.mark.parametrize(
    ("name", "tap", "layer"),
    [
        ("resnet50", "conv4_block1", "conv4_block1_out"),
        ("inception_resnet_v2", "block35_1", "block35_1_ac"),  # and not block35_10_ac
        ("inception_v3", "mixed1", "mixed1"),  # and not mixed10
        ("vgg16", "block4_conv3", "block4_conv3"),  # no end of a block, but a layer
        ("efficientnet_b0", "block2b", "block2b_add"),
        ("convnext_tiny", "stage_1_block_2", "stage_1_block_2"),
    ],
)
def test_a_tap_is_the_end_of_a_block_or_any_layer(name: str, tap: str, layer: str) -> None:
    assert find_tap(BASES[name], tap) == layer


@pytest.mark.parametrize(
    ("dropped", "tap"), [(0, "mixed10"), (1, "mixed9"), (3, "mixed7"), (10, "mixed0")]
)
def test_blocks_are_dropped_from_the_top(dropped: int, tap: str) -> None:
    assert find_tap(BASES["inception_v3"], None, dropped) == tap


def test_blocks_that_are_not_there_cannot_be_dropped() -> None:
    for dropped in (-1, 11):
        with pytest.raises(
            BottleneckError, match="inception_v3 has 11 blocks; --drop-blocks takes 0 to 10"
        ):
            find_tap(BASES["inception_v3"], None, dropped)
    with pytest.raises(BottleneckError, match="--tap and --drop-blocks"):
        find_tap(BASES["inception_v3"], "mixed7", 1)


def test_any_layer_can_be_tapped_and_an_unknown_one_is_answered_with_the_nearest() -> None:
    vgg, weights = BASES["vgg16"], find_weights("random")
    assert build_network(vgg, weights, ("block4_conv3",), "avg", 32).feature_shapes == ((512,),)
    said = "vgg16 has no tap 'block4_conv9'; did you mean block4_conv"
    with pytest.raises(BottleneckError, match=said):
        build_network(vgg, weights, ("block4_conv9",), "avg", 32)
