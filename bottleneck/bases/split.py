"""Cut a base in two at a tap."""

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
        Built by `bottleneck.bases.weights.build_with_weights`.
    tap : str
        End of a block, or any layer that no branch bypasses.

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
        The tap does not exist, or a branch or shortcut bypasses it.

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
    except ValueError as error:  # Keras raises it if the top needs more than the tap
        raise BottleneckError(
            f"{base.name} cannot be cut at {tap}: a branch or shortcut bypasses it; cut at the end of a "
            f"block, as listed by: bottleneck bases show {base.argument}"
        ) from error


def find_cuts(model: Any) -> tuple[str, ...]:
    """Find layers where a base can be cut: the highest layer at each size of the map.

    Layers that a branch bypasses are left out, and so are maps as large as the images, maps as small as the
    top's, and maps enlarged by padding.

    Parameters
    ----------
    model : keras.Model
        Built by `bottleneck.bases.weights.build_with_weights`.

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
    highest: dict[int, str] = {}  # by the number of positions in the map
    smallest = math.prod(model.input_shape[1:3]) - 1
    for index, layer in enumerate(operations[:-1]):
        if not isinstance(layer, keras.layers.Layer) or reached[index] > index:
            continue
        shape = layer.output.shape
        if len(shape) == 4 and math.prod(shape[1:3]) <= smallest:
            smallest = math.prod(shape[1:3])
            highest[smallest] = layer.name
    highest.pop(math.prod(model.output_shape[1:3]), None)
    return tuple(highest.values())


def _reached(operations: list[Any]) -> list[int]:
    """Return for each operation the highest index that uses an output from below it."""
    keras = load_keras()
    made: dict[int, int] = {}
    taken = list(range(len(operations)))
    for index, operation in enumerate(operations):
        # a network used as a layer overrides input and output
        for tensor in keras.tree.flatten(keras.Operation.input.fget(operation)):
            if id(tensor) in made:
                taken[made[id(tensor)]] = index
        for tensor in keras.tree.flatten(keras.Operation.output.fget(operation)):
            made[id(tensor)] = index
    return [0, *itertools.accumulate(taken[:-1], max)]
