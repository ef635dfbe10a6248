"""What a fitted head says of cached features."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.heads.registry import Head

# Rows read at a time: 32 MiB of 2,048 features.
BATCH = 4096


def mean_probabilities(head: Head, views: Sequence[Located], classes: int) -> NDArray[np.float32]:
    """Average a head's probabilities over views of images.

    Parameters
    ----------
    head : Head
    views : sequence of Located
        The same images in each; one where only their plain view counts.
    classes : int

    Returns
    -------
    ndarray of float32, shape (n, classes)
        Rows sum to 1.
    """
    total = np.zeros((len(views[0].rows), classes), np.float32)
    for view in views:
        for start in range(0, len(total), BATCH):
            part = slice(start, start + BATCH)
            X = view.gather(part).X
            total[part] += head.predict_proba(X.reshape(len(X), -1))
    return total / np.float32(len(views))
