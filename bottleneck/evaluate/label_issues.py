"""Label issues: images whose label looks wrong."""

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

# A common number; each image is predicted by a head fitted on four fifths of the images.
FOLDS = 5

# Images for choosing the regularisation, once for all folds: with more, the choice would take longer
# than the folds.
_CHOOSING = 5000


@dataclass(frozen=True)
class LabelIssues:
    """Images whose label differs from the prediction of heads fitted without them.

    Attributes
    ----------
    rows : ndarray of int64, shape (m,)
        Images whose label looks wrong, the most suspicious first.
    likely : ndarray of int64, shape (m,)
        Predicted class of each.
    label_probability, likely_probability : ndarray of float32, shape (m,)
        Probabilities of the label and of the predicted class.
    unchecked : tuple of int
        Classes that cannot be checked, because they have fewer than five different images.
    """

    rows: NDArray[np.int64]
    likely: NDArray[np.int64]
    label_probability: NDArray[np.float32]
    likely_probability: NDArray[np.float32]
    unchecked: tuple[int, ...]


def find_label_issues(
    images: Located,
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
    progress: Progress,
) -> LabelIssues:
    """Find labels that look wrong, with the logistic head.

    Parameters
    ----------
    images : Located
    y : ndarray of int64, shape (n,)
        Their labels.
    groups : ndarray of int64, shape (n,)
        Images of a group (duplicates) stay in the same fold.
    seed : int
        Random seed for the folds.
    progress : callable
    """
    classes = int(y.max()) + 1
    enough = [len(np.unique(groups[y == label])) >= FOLDS for label in range(classes)]
    unchecked = tuple(label for label in np.unique(y).tolist() if not enough[label])
    checked = np.flatnonzero(np.array(enough)[y])
    if len(np.unique(y[checked])) < 2:
        nothing = np.empty(0, np.int64)
        empty = np.empty(0, np.float32)
        return LabelIssues(nothing, nothing, empty, empty, tuple(np.unique(y).tolist()))
    taken = images.take(checked)
    parts = slices(len(checked), taken.shape)
    X = np.concatenate([pool_maps(taken.gather(part).X) for part in parts])
    probabilities = out_of_fold(X, y[checked], groups[checked], classes, seed, progress)
    issues = confident_learning(y[checked], probabilities)
    return dataclasses.replace(issues, rows=checked[issues.rows], unchecked=unchecked)


def confident_learning(y: NDArray[np.int64], probabilities: NDArray[np.float32]) -> LabelIssues:
    """Compare labels with out-of-fold probabilities.

    An image counts as a member of a class if its probability of that class is at least the average over
    the images with that label; if several classes qualify, it is the most probable of them. If that is
    not the label of the image, the label is an issue.

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
    >>> confident_learning(y, np.stack([p, 1 - p], axis=1)).rows
    array([2])
    """
    n, classes = probabilities.shape
    own = probabilities[np.arange(n), y]
    labelled = np.bincount(y, minlength=classes)
    with np.errstate(invalid="ignore"):
        threshold = np.bincount(y, own, minlength=classes) / labelled
    # a class without images has no threshold (NaN), and never qualifies
    confident = np.where(probabilities >= threshold, probabilities, -1)
    likely = confident.argmax(axis=1)
    suspicious = np.flatnonzero((confident.max(axis=1) >= 0) & (likely != y))
    other = probabilities[suspicious, likely[suspicious]]
    order = np.argsort(own[suspicious] - other, kind="stable")
    found = suspicious[order]
    return LabelIssues(found, likely[found], own[found], other[order], ())


def out_of_fold(
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    seed: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Predict the probabilities of each image with a logistic head fitted without it.

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
        val = Sample(X[held[:1]], np.zeros(1, np.int64))  # no choice is left
        head = kind.fit(Sample(X[train], codes), val, len(there), seed, params)
        probabilities[np.ix_(held, there)] = head.predict_proba(X[held])
    progress("labels", FOLDS, FOLDS)
    return probabilities
