"""Scaling of features, in place and in slices: they may be larger than memory."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.contract import Sample

# Bytes of features gone through at a time: many rows, and little beside what is being learnt from.
_SLICE = 4 << 20


def scale_in_place(scalers: Iterable[Any], train: Sample, val: Sample) -> None:
    """Fit scalers of scikit-learn on the training features, and overwrite all with their scaled values.

    Maps are taken channel by channel.

    Parameters
    ----------
    scalers : iterable of transformer
        One after the other. Each has ``partial_fit``, or learns nothing from features.
    train, val : Sample
        Overwritten.
    """
    for scaler in scalers:
        if hasattr(scaler, "partial_fit"):
            for X in _rows(train.X):
                scaler.partial_fit(X)
        else:
            scaler.fit(next(_rows(train.X)))
        for sample in (train, val):
            for X in _rows(sample.X):
                X[:] = scaler.transform(X)


def slices(count: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Divide so many rows of float32 features of a shape into slices of some megabytes."""
    # of no images at all not even the shape is known
    rows = max(1, _SLICE // (4 * max(1, math.prod(shape))))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def _rows(X: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for part in slices(len(X), X.shape[1:]):
        yield X[part].reshape(-1, X.shape[-1])
