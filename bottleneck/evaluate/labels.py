"""Labels that are probably wrong."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.evaluate.duplicates import pool_maps
from bottleneck.extraction.progress import Progress
from bottleneck.heads.contract import Sample
from bottleneck.heads.registry import complete_params, find_head
from bottleneck.heads.scaling import slices

# As many as are common; each image is judged by a head fitted on four fifths of the others.
FOLDS = 5

# Images on which the strength of the regularisation is chosen, once for all folds: with more, choosing
# costs more than the folds.
_CHOOSING = 5000


@dataclass(frozen=True)
class Doubts:
    """What heads that have not seen an image say of its label.

    Attributes
    ----------
    places : ndarray of int64, shape (m,)
        Images whose label is probably wrong, the surest first.
    likely : ndarray of int64, shape (m,)
        The class that each seems to belong to.
    label_probability, likely_probability : ndarray of float32, shape (m,)
        Of the class it is said to be, and of the other.
    unchecked : tuple of int
        Classes of fewer than five images, of which nothing can be told.
    """

    places: NDArray[np.int64]
    likely: NDArray[np.int64]
    label_probability: NDArray[np.float32]
    likely_probability: NDArray[np.float32]
    unchecked: tuple[int, ...]


def find_doubts(
    images: Located,
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
    progress: Progress,
) -> Doubts:
    """Look for wrong labels with the logistic head.

    Parameters
    ----------
    images : Located
    y : ndarray of int64, shape (n,)
        Their labels.
    groups : ndarray of int64, shape (n,)
        Images of a group (duplicates) are on the same side of each fold.
    seed : int
        Of the folds.
    progress : callable
    """
    classes = int(y.max()) + 1
    enough = [len(np.unique(groups[y == label])) >= FOLDS for label in range(classes)]
    unchecked = tuple(label for label in np.unique(y).tolist() if not enough[label])
    checked = np.flatnonzero(np.array(enough)[y])
    if len(np.unique(y[checked])) < 2:
        nothing = np.empty(0, np.int64)
        empty = np.empty(0, np.float32)
        return Doubts(nothing, nothing, empty, empty, tuple(np.unique(y).tolist()))
    taken = images.take(checked)
    parts = slices(len(checked), taken.shape)
    X = np.concatenate([pool_maps(taken.gather(part).X) for part in parts])
    probabilities = out_of_fold(X, y[checked], groups[checked], classes, seed, progress)
    doubts = confident_learning(y[checked], probabilities)
    return dataclasses.replace(doubts, places=checked[doubts.places], unchecked=unchecked)


def confident_learning(y: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Doubts:
    """Compare labels with the probabilities of heads that have not seen them.

    An image counts as one of a class if that class is as probable as it is, on average, for the
    images labelled so; of several such classes, of the most probable. Where that is not its label,
    the label is in doubt.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
    probabilities : ndarray of float32, shape (n, classes)

    Notes
    -----
    The off-diagonal of the confident joint of Northcutt, Jiang and Chuang 2021, Confident Learning:
    Estimating Uncertainty in Dataset Labels, ordered by how much more probable the other class is.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> p = np.array([0.9, 0.8, 0.1, 0.1, 0.2, 0.3])  # of class 0; the third image looks like a 1
    >>> confident_learning(y, np.stack([p, 1 - p], axis=1)).places
    array([2])
    """
    n, classes = probabilities.shape
    rows = np.arange(n)
    own = probabilities[rows, y]
    labelled = np.bincount(y, minlength=classes)
    with np.errstate(invalid="ignore"):
        usual = np.bincount(y, own, minlength=classes) / labelled
    confident = np.where(probabilities >= usual, probabilities, -1)  # never, where nothing is usual
    likely = confident.argmax(axis=1)
    doubtful = np.flatnonzero((confident.max(axis=1) >= 0) & (likely != y))
    other = probabilities[doubtful, likely[doubtful]]
    order = np.argsort(own[doubtful] - other, kind="stable")
    places = doubtful[order]
    return Doubts(places, likely[places], own[places], other[order], ())


def out_of_fold(
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Give probabilities of each image from a logistic head that was fitted without it.

    Returns
    -------
    ndarray of float32, shape (n, classes)
    """
    from sklearn.model_selection import StratifiedGroupKFold

    kind = find_head("logistic")
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    folds = list(splitter.split(X, y, groups))
    probabilities = np.zeros((len(y), classes), np.float32)
    params = complete_params(kind, {})
    for number, (train, held) in enumerate(folds):
        progress("labels", number, FOLDS)
        # a class of few groups may be missing from a fold
        there, codes = np.unique(y[train], return_inverse=True)
        if number == 0:
            seen = held[np.isin(y[held], there)][:_CHOOSING]
            some = np.random.default_rng(seed).permutation(len(train))[:_CHOOSING]
            if len(np.unique(codes[some])) < len(there):
                some = np.arange(len(train))
            val = Sample(X[seen], np.searchsorted(there, y[seen]))
            chosen = kind.fit(
                Sample(X[train[some]], codes[some]), val, len(there), seed, params
            ).chosen
            params = complete_params(kind, {"C": chosen["C"]})
        val = Sample(X[held[:1]], np.zeros(1, np.int64))  # nothing is left to choose
        head = kind.fit(Sample(X[train], codes), val, len(there), seed, params)
        probabilities[np.ix_(held, there)] = head.predict_proba(X[held])
    progress("labels", FOLDS, FOLDS)
    return probabilities
