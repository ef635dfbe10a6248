"""Metrics with 95 % confidence intervals."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.runs.metrics import METRICS, contributions, figures

# The smallest number recommended for intervals: Efron and Tibshirani 1993, An Introduction to the
# Bootstrap, chapter 13.
RESAMPLES = 1000

_COVERAGE = 0.95

# Resamples per block: 20 MB of counts for 50,000 images.
_BLOCK = 50


@dataclass(frozen=True)
class Estimate:
    """Value of a metric and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def estimate(
    y: NDArray[np.int64],
    probabilities: Sequence[NDArray[np.float32]],
    k: int,
    seed: int,
) -> list[dict[str, Estimate]]:
    """Measure several heads on the same images, with bootstrap intervals.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        True classes; n is at least 1.
    probabilities : sequence of ndarray of float32, shape (n, classes)
        Predictions of each head.
    k : int
        The k of top-k accuracy.
    seed : int
        Random seed for the resamples, which are the same for every head.

    Returns
    -------
    list of dict of str to Estimate
        For each head, by the names in `bottleneck.runs.metrics.METRICS`.

    Notes
    -----
    Percentile bootstrap over images (Efron 1979, Bootstrap Methods: Another Look at the Jackknife). The
    calibration error of a resample is larger on average than that of the images themselves, so an
    interval is widened, if needed, to contain the value.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> p = np.eye(2, dtype="float32")[np.where(np.arange(100) < 10, 1 - y, y)]  # ten are wrong
    >>> estimate(y, [p], k=1, seed=0)[0]["accuracy"]
    Estimate(value=0.9, low=0.8..., high=0.9...)
    """
    import scipy.sparse

    parts = [contributions(y, p, k) for p in probabilities]
    edges = np.cumsum([0, *(part.shape[1] for part in parts)])
    together = scipy.sparse.hstack(parts, format="csc").T.tocsr()
    sums = np.empty((RESAMPLES, edges[-1]))
    rng = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, _BLOCK):
        drawn = rng.integers(0, len(y), (_BLOCK, len(y)))
        counts = np.stack([np.bincount(row, minlength=len(y)) for row in drawn], axis=1)
        sums[start : start + _BLOCK] = (together @ counts.astype(np.float64)).T
    whole = np.asarray(together.sum(axis=1))[None]
    tail = (1 - _COVERAGE) / 2
    estimates = []
    for columns in itertools.starmap(slice, itertools.pairwise(edges)):
        values = figures(whole[:, columns])[0]
        low, high = np.quantile(figures(sums[:, columns]), [tail, 1 - tail], axis=0)
        ranges = zip(values, np.minimum(low, values), np.maximum(high, values), strict=True)
        estimates.append(
            {
                name: Estimate(*map(float, found))
                for name, found in zip(METRICS, ranges, strict=True)
            }
        )
    return estimates
