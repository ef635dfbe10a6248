"""Where a network can be cut is found from its graph."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import PREPROCESSING, TOP, Base
from bottleneck.bases.registry import find_base
from bottleneck.bases.split import find_cuts, split_at
from bottleneck.bases.weights import build_with_weights, find_weights
from bottleneck.errors import BottleneckError

SIDE = 16

# Its names are its own, as they are in a file.
OWN = Base(
    name="own",
    builder="",
    image_size=SIDE,
    min_size=1,
    taps=(TOP,),
    preprocessing=PREPROCESSING["none"],
    source="",
    file="own.keras",
)


# Each step takes in the newest map, and a sum one of those before it too: so many steps back.
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["sum", "tanh", "pool"]), st.integers(0, 4)), max_size=10
)


def network(steps: list[Step]) -> Any:
    keras = load_keras()
    pixels = keras.Input((SIDE, SIDE, 3))
    maps = [keras.layers.Conv2D(2, 1, strides=2, name="first")(pixels)]
    for number, (kind, back) in enumerate(steps):
        name, newest = f"{kind}_{number}", maps[-1]
        if kind == "sum":
            other = maps[max(len(maps) - 1 - back, 0)]
            maps.append(keras.layers.Add(name=name)([newest, other]))
        elif kind == "tanh":
            maps.append(keras.layers.Activation("tanh", name=name)(newest))
        elif newest.shape[1] > 1:
            maps = [keras.layers.AveragePooling2D(2, name=name)(newest)]
    return keras.Model(pixels, maps[-1])


def can_be_cut(model: Any, name: str) -> bool:
    try:
        split_at(OWN, model, name)
    except BottleneckError:
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_the_highest_layers_that_can_be_cut_at_are_found_at_each_size(steps: list[Step]) -> None:
    model = network(steps)
    expected: dict[int, str] = {}
    for layer in model.layers[1:]:
        side = layer.output.shape[1]
        if model.output_shape[1] < side < SIDE and can_be_cut(model, layer.name):
            expected[side] = layer.name
    assert find_cuts(model) == tuple(expected.values())


def test_a_network_of_keras_is_cut_at_each_size_of_its_maps() -> None:
    base = find_base("MobileNetV3Small")
    model = build_with_weights(base, find_weights("random"), 64)
    cuts = find_cuts(model)
    assert [model.get_layer(cut).output.shape[1] for cut in cuts] == [32, 16, 8, 4]
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    numpy = load_keras().ops.convert_to_numpy
    whole = numpy(model(x, training=False))
    for cut in cuts:
        lower, upper = split_at(base, model, cut)
        found = upper(lower(x, training=False), training=False)
        np.testing.assert_allclose(numpy(found), whole, rtol=1e-4, atol=1e-5)
