"""Scale features in place and in slices, since they may be larger than memory."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.contract import Sample

# Bytes of features per slice: many rows, and little compared with the training features.
_SLICE = 4 << 20


def scale_in_place(scalers: Iterable[Any], train: Sample, val: Sample) -> None:
    """Fit scikit-learn scalers on the training features, and overwrite all features with scaled values.

    Maps are scaled channel by channel.

    Parameters
    ----------
    scalers : iterable of transformer
        Applied one after the other. Each has ``partial_fit``, or is stateless.
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
    """Divide `count` rows of float32 features of a shape into slices of a few megabytes."""
    # without images the shape is unknown
    rows = max(1, _SLICE // (4 * max(1, math.prod(shape))))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def _rows(X: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for part in slices(len(X), X.shape[1:]):
        yield X[part].reshape(-1, X.shape[-1])
