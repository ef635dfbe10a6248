"""Paired tests of two heads on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Discordance:
    """Images that only one of two heads predicts correctly, and McNemar's test.

    Attributes
    ----------
    only_first, only_second : int
        Number of images that only the first, or only the second, predicts correctly.
    p : float
        The p-value, under the hypothesis that both are equally accurate.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Discordance:
    """Test whether two heads are equally accurate (McNemar, exact).

    Parameters
    ----------
    first, second : ndarray of bool, shape (n,)
        Whether each prediction is correct.

    Notes
    -----
    McNemar 1947, Note on the Sampling Error of the Difference Between Correlated Proportions, which
    Dietterich 1998, Approximate Statistical Tests for Comparing Supervised Classification Learning
    Algorithms, recommends if a head is fitted once. The exact binomial distribution is used rather than
    the χ² approximation: it is valid for few images, and fast for many.

    Examples
    --------
    >>> import numpy as np
    >>> mcnemar(np.array([True] * 9 + [False]), np.array([True] * 3 + [False] * 7))
    Discordance(only_first=6, only_second=0, p=0.03125)
    """
    # imported here: it takes a second to load
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return Discordance(only_first, only_second, p)


def holm(p: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests (Holm).

    Notes
    -----
    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure: the chance of
    any false positive stays below the level that the corrected values are compared with.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = least
    return corrected
