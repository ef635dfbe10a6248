"""Cutting a base in two."""

import itertools
import math
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import Base
from bottleneck.bases.network import tap_tensor
from bottleneck.errors import BottleneckError


def split_at(base: Base, model: Any, tap: str) -> tuple[Any, Any]:
    """Cut a model of a base at a tap.

    Parameters
    ----------
    base : Base
    model : keras.Model
        As `bottleneck.bases.weights.build_with_weights` gives it.
    tap : str
        The end of a block, or any layer that everything goes through.

    Returns
    -------
    lower : keras.Model
        From prepared pixels to the tap.
    upper : keras.Model
        From the tap to the top; ``upper(lower(x))`` is ``model(x)``. Both share their weights with
        the model.

    Raises
    ------
    BottleneckError
        There is no such tap, or a branch or shortcut goes past it.

    Examples
    --------
    >>> from bottleneck.bases.registry import find_base
    >>> from bottleneck.bases.weights import build_with_weights, find_weights
    >>> vgg = find_base("vgg16")
    >>> model = build_with_weights(vgg, find_weights("random"), image_size=32)
    >>> lower, upper = split_at(vgg, model, "block3_pool")
    >>> lower.output_shape, upper.output_shape
    ((None, 4, 4, 256), (None, 1, 1, 512))
    """
    keras = load_keras()
    tensor = tap_tensor(base, model, tap)
    try:
        return keras.Model(model.input, tensor), keras.Model(tensor, model.output)
    except ValueError as error:  # what Keras raises where the top needs more than the tap
        raise BottleneckError(
            f"{base.name} cannot be cut at {tap}: a branch or shortcut goes past it; cut at the end of a "
            f"block, as listed by: bottleneck bases show {base.argument}"
        ) from error


def find_cuts(model: Any) -> tuple[str, ...]:
    """Find layers a model of a base can be cut at: the highest at each size of the map.

    Only layers that everything goes through. Maps as large as the pictures or as small as the top's are
    left out, and those made larger by padding.

    Parameters
    ----------
    model : keras.Model
        As `bottleneck.bases.weights.build_with_weights` gives it.

    Returns
    -------
    tuple of str
        Names of layers, from the lowest to the highest.

    Examples
    --------
    >>> from bottleneck.bases.registry import find_base
    >>> from bottleneck.bases.weights import build_with_weights, find_weights
    >>> resnet = find_base("ResNet50")
    >>> find_cuts(build_with_weights(resnet, find_weights("random"), image_size=64))
    ('conv1_relu', 'conv2_block3_out', 'conv3_block4_out', 'conv4_block6_out')
    """
    keras = load_keras()
    operations = model.operations
    reached = _reached(operations)
    highest: dict[int, str] = {}  # by the number of places in the map
    smallest = math.prod(model.input_shape[1:3]) - 1
    for place, layer in enumerate(operations[:-1]):
        if not isinstance(layer, keras.layers.Layer) or reached[place] > place:
            continue
        shape = layer.output.shape
        if len(shape) == 4 and math.prod(shape[1:3]) <= smallest:
            smallest = math.prod(shape[1:3])
            highest[smallest] = layer.name
    highest.pop(math.prod(model.output_shape[1:3]), None)
    return tuple(highest.values())


def _reached(operations: list[Any]) -> list[int]:
    """Tell for each operation the highest place that takes in anything made below it."""
    keras = load_keras()
    made: dict[int, int] = {}
    taken = list(range(len(operations)))
    for place, operation in enumerate(operations):
        # a network used as a layer has another idea of its input and output
        for tensor in keras.tree.flatten(keras.Operation.input.fget(operation)):
            if id(tensor) in made:
                taken[made[id(tensor)]] = place
        for tensor in keras.tree.flatten(keras.Operation.output.fget(operation)):
            made[id(tensor)] = place
    return [0, *itertools.accumulate(taken[:-1], max)]
