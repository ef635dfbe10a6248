"""Whether two heads differ on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Discordance:
    """How often one head is right where another is wrong.

    Attributes
    ----------
    only_first, only_second : int
        Images that only the one, or only the other, is right about.
    p : float
        Probability of a difference at least as large if both were equally good.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Discordance:
    """Test whether two heads are right equally often, by the images they differ on.

    Parameters
    ----------
    first, second : ndarray of bool, shape (n,)
        Whether each is right about each image.

    Notes
    -----
    McNemar 1947, Note on the Sampling Error of the Difference Between Correlated Proportions, which
    Dietterich 1998, Approximate Statistical Tests for Comparing Supervised Classification Learning
    Algorithms, recommends where a head is fitted once. By the binomial distribution itself, never
    the χ² that approaches it: it is right for few images, and quick for many.

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
    """Correct the probabilities of several tests for there being several.

    Notes
    -----
    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure: the chance of calling any
    difference that is none stays below the level that the corrected ones are compared with.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = least
    return corrected
