"""Training batches: inputs, one-hot labels and sample weights, all batches of one size."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.finetuning.devices import count_devices
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.epochs import class_weights, steps


class Batch(NamedTuple):
    """The data of one training step.

    Attributes
    ----------
    inputs : ndarray, shape (size, ...)
        The first `images` rows count; the others are padding.
    labels : ndarray of float32, shape (size, classes)
        One-hot.
    weights : ndarray of float32, shape (size,)
        Sample weights; 0 for padding.
    images : int
        Number of images, without padding.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    images: int


def find_batch_size(model: Any, data: TrainingData, settings: Settings) -> int:
    """Return the rows of each batch: an even division of the epoch, rounded up to a multiple of the devices."""
    images, devices = len(data.indices("train")), count_devices(model)
    rows = -(-images // steps(images, settings.batch_size))
    return -(-rows // devices) * devices


def make_batches(
    data: TrainingData,
    parts: Sequence[NDArray[np.int64]],
    view: int,
    settings: Settings,
    size: int,
) -> Iterator[Batch]:
    """Yield padded batches of one size, because another size would trace the graph again.

    Parameters
    ----------
    data : TrainingData
    parts : sequence of ndarray of int64
        Indices of the images of each batch, at most `size`.
    view : int
    settings : Settings
    size : int
        Rows of each batch, see `find_batch_size`.
    """
    weights = class_weights(data.y[data.splits["train"]], data.classes, settings.class_weight)
    one_hot = np.eye(data.classes, dtype=np.float32)
    for part, inputs in zip(parts, data.inputs.batches(parts, view), strict=True):
        padded = np.concatenate([np.arange(len(part)), np.zeros(size - len(part), np.int64)])
        y = data.y[part][padded]
        # Keras divides by all rows, padding included
        counted = weights[y] * (size / len(part)) * (np.arange(size) < len(part))
        yield Batch(inputs[padded], one_hot[y], counted.astype(np.float32), len(part))


def divide_in_order(count: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Divide images into batches in order; only the last one may be smaller."""
    return [
        np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)
    ]
