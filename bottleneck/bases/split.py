"""Cutting a base in two."""

from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import tap_tensor
from bottleneck.bases.registry import Base
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
            f"block, as listed by: bottleneck bases show {base.name}"
        ) from error
