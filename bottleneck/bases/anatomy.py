"""Size, parameters, multiply-adds and time of a base below and above each tap."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import TOP, Base
from bottleneck.bases.network import tap_tensor
from bottleneck.bases.split import find_cuts
from bottleneck.bases.weights import build_with_weights, find_weights

# Images per batch, and number of batches, when time is measured; the fastest batch counts.
BATCH, _BATCHES = 4, 3


@dataclass(frozen=True)
class TapAnatomy:
    """A tap of a base.

    Attributes
    ----------
    tap : str
    shape : tuple of int
        Shape of its map, height × width × channels.
    vector : int
        Length of the pooled features.
    parameters_below, parameters_above : int
    multiply_adds_below, multiply_adds_above : int
        For one image, in convolutions and dense layers; other layers are negligible.
    time_below : float or None
        Share of the base's time that is spent below the tap, if measured.
    bytes_pooled, bytes_map : int
        Size of one image's features in a cache, pooled and as a map.
    """

    tap: str
    shape: tuple[int, ...]
    vector: int
    parameters_below: int
    parameters_above: int
    multiply_adds_below: int
    multiply_adds_above: int
    time_below: float | None
    bytes_pooled: int
    bytes_map: int


def describe_taps(base: Base, image_size: int, *, timed: bool = False) -> tuple[TapAnatomy, ...]:
    """Describe every tap of a base, from the lowest to the highest.

    If the blocks of a base are not listed, describe the layers where it can be cut, see
    `bottleneck.bases.split.find_cuts`, and the top.

    Parameters
    ----------
    base : Base
    image_size : int
        Side of the images, in pixels.
    timed : bool
        Also measure the time, which takes seconds for each tap.

    Examples
    --------
    >>> from bottleneck.bases.registry import find_base
    >>> lowest = describe_taps(find_base("vgg16"), image_size=32)[0]
    >>> lowest.tap, lowest.shape, lowest.parameters_below, lowest.multiply_adds_below
    ('block1_pool', (16, 16, 64), 38720, 39518208)
    """
    keras = load_keras()
    whole = build_with_weights(base, find_weights(base.file or "random"), image_size)
    parameters, work = whole.count_params(), multiply_adds(whole)
    seconds = batch_seconds(whole) if timed else None
    taps = []
    for tap in base.taps if base.taps != (TOP,) else (*find_cuts(whole), TOP):
        below = keras.Model(whole.input, tap_tensor(base, whole, tap))
        shape = tuple(below.output_shape[1:])
        done = multiply_adds(below)
        taps.append(
            TapAnatomy(
                tap=tap,
                shape=shape,
                vector=shape[-1],
                parameters_below=below.count_params(),
                parameters_above=parameters - below.count_params(),
                multiply_adds_below=done,
                multiply_adds_above=work - done,
                time_below=None if seconds is None else min(batch_seconds(below) / seconds, 1.0),
                bytes_pooled=4 * shape[-1],  # float32
                bytes_map=2 * int(np.prod(shape)),  # float16, as maps are kept by default
            )
        )
    return tuple(taps)


def multiply_adds(model: Any) -> int:
    """Count the multiply-adds of a model's convolutions and dense layers, for one image."""
    return sum(_multiply_adds_of(layer) for layer in model.layers)


def _multiply_adds_of(layer: Any) -> int:
    keras = load_keras()
    if isinstance(layer, keras.Model):  # its inner maps may have no fixed size
        given = keras.Operation.input.fget(layer).shape[1:]
        return multiply_adds(keras.models.clone_model(layer, input_tensors=keras.Input(given)))
    # each position of the output uses each number of the kernel once
    kernels = [v for v in layer.weights if len(v.shape) in {2, 4} and "kernel" in v.name]
    positions = np.prod(layer.output.shape[1:-1]) if kernels else 0
    return int(positions * sum(np.prod(kernel.shape) for kernel in kernels))


def batch_seconds(model: Any) -> float:
    """Measure how long a model takes for a batch of `BATCH` images, in inference."""
    pixels = np.zeros((BATCH, *model.input_shape[1:]), np.float32)
    model.predict_on_batch(pixels)  # the first batch builds the graph
    taken = []
    for _ in range(_BATCHES):
        started = time.perf_counter()
        model.predict_on_batch(pixels)
        taken.append(time.perf_counter() - started)
    return min(taken)
