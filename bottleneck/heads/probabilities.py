"""Predict cached features with a fitted head."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.errors import BottleneckError
from bottleneck.heads.contract import Head
from bottleneck.heads.scaling import slices


def read_finite(located: Located, part: slice) -> NDArray[np.float32]:
    """Read the features of a slice of the images.

    Returns
    -------
    ndarray of float32, shape (n, *shape)

    Raises
    ------
    BottleneckError
        If some are NaN or infinite.
    """
    features = located.gather(part)
    X = features.X.reshape(len(features.X), -1)
    # a sum is finite only if all its terms are, and needs no memory
    if len(X) and not np.isfinite(X.sum(axis=1)).all():
        wrong = np.flatnonzero(~np.isfinite(X).all(axis=1))
        if len(wrong):
            raise BottleneckError(
                f"features of {features.paths[wrong[0]]!r} hold NaN or infinity; half precision may have overflowed: "
                "extract again with --dtype float32 --precision float32, or leave the image out"
            )
    return features.X


def mean_probabilities(head: Head, views: Sequence[Located], classes: int) -> NDArray[np.float32]:
    """Average a head's probabilities over views of images.

    Parameters
    ----------
    head : Head
    views : sequence of Located
        The same images in each view; a single one for the plain view.
    classes : int

    Returns
    -------
    ndarray of float32, shape (n, classes)
        Rows sum to 1.
    """
    total = np.zeros((len(views[0].rows), classes), np.float32)
    for view in views:
        for part in slices(len(total), view.shape):
            total[part] += head.predict_proba(read_finite(view, part))
    return total / np.float32(len(views))
