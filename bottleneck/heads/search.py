"""Parameter search for a head, on the validation split or by cross-validation."""

import itertools
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import Cluster, joblib_on
from bottleneck.heads.contract import Sample
from bottleneck.heads.data import LabelledFeatures
from bottleneck.heads.grids import Grid
from bottleneck.heads.probabilities import read_finite
from bottleneck.heads.registry import complete_params, find_head
from bottleneck.heads.scaling import slices

# Each fold plays three roles in turn: training, validation (for choices while fitting) and scoring.
_LEAST_FOLDS = 3

COLUMNS = ("params", "log_loss", "spread", "accuracy", "seconds", "reason")


@dataclass(frozen=True)
class Trial:
    """Result of one combination of parameters.

    Attributes
    ----------
    params : dict
        The parameters that were tried. Others have their defaults.
    log_loss, accuracy : float
        Means over the folds.
    spread : float
        Standard deviation of the log loss over the folds; 0 for a single fold.
    seconds : float
        Time to fit, summed over the folds.
    reason : str
        Why the head could not be fitted; empty if it could.
    """

    params: Mapping[str, Any]
    log_loss: float
    accuracy: float
    spread: float
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Fold:
    """Row numbers of the images by role.

    Attributes
    ----------
    train, val, score : ndarray of int64
        Images to fit on, images for choices while fitting (such as when to stop), and images to score.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    score: NDArray[np.int64]


@dataclass(frozen=True)
class SearchSettings:
    """How parameters are tried.

    Attributes
    ----------
    head : str
    params : dict
        Parameters outside the grid.
    seed : int
    jobs : int
        Number of local processes.
    folder : Path
        Folder for a temporary file of the features, which all processes map.
    cluster : Cluster, optional
        Cluster whose workers try the parameters, instead of local processes.
    """

    head: str
    params: Mapping[str, Any]
    seed: int
    jobs: int
    folder: Path
    cluster: Cluster | None = None


def make_folds(train: Sequence[Row], val: Sequence[Row], folds: int, seed: int) -> tuple[Fold, ...]:
    """Divide the images of the training and validation splits, in that order.

    Without folds there is one division: the head is fitted on the training split and scored on the
    validation split. With folds each image is scored once, by a head that used it neither for fitting nor
    for a choice. Folds are stratified, and duplicates stay together.

    Parameters
    ----------
    train, val : sequence of Row
    folds : int
        Number of folds; 0 for none.
    seed : int

    Raises
    ------
    BottleneckError
        If there are too few folds, or a class has too few different images for them.

    Examples
    --------
    >>> rows = [Row(f"{n}.jpg", f"{n:064x}", "cat" if n % 2 else "dog") for n in range(12)]
    >>> [fold.score.tolist() for fold in make_folds(rows[:8], rows[8:], folds=0, seed=0)]
    [[8, 9, 10, 11]]
    >>> [len(fold.score) for fold in make_folds(rows[:8], rows[8:], folds=3, seed=0)]
    [4, 4, 4]
    """
    rows = [*train, *val]
    if not folds:
        held_out = np.arange(len(train), len(rows))
        return (Fold(np.arange(len(train)), held_out, held_out),)
    if folds < _LEAST_FOLDS:
        raise BottleneckError(f"--cv takes a number of folds from {_LEAST_FOLDS}, not {folds}")
    counts = Counter(label for label, _ in {(row.label, row.digest) for row in rows})
    few = min(counts, key=lambda label: counts[label])
    if counts[few] < folds:
        raise BottleneckError(
            f"class {few!r} has {counts[few]} different images to fit on, too few for --cv {folds}; use fewer folds"
        )
    # imported here: it takes a second, and only a search needs it
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    labels, groups = [row.label for row in rows], [row.digest for row in rows]
    parts = [score for _, score in splitter.split(rows, labels, groups)]
    made = []
    for number, score in enumerate(parts):
        validation = parts[(number + 1) % folds]
        training = np.setdiff1d(np.arange(len(rows)), np.concatenate([score, validation]))
        missing = set(labels) - {labels[row] for row in training}
        if missing:
            raise BottleneckError(
                f"class {min(map(str, missing))!r} has too few different images to be in all of {folds} folds; "
                "use fewer with --cv"
            )
        made.append(Fold(training, validation, score))
    return tuple(made)


def search(
    data: LabelledFeatures, folds: Sequence[Fold], grid: Grid, settings: SearchSettings
) -> tuple[Trial, ...]:
    """Try every combination of a grid.

    Parameters
    ----------
    data : LabelledFeatures
        Images in the order that the folds number them in. A head is fitted on all views and scored on
        the plain view.
    folds : sequence of Fold
    grid : dict of lists
        Empty to score the parameters as they are.
    settings : SearchSettings

    Returns
    -------
    tuple of Trial
        Sorted by log loss, lowest first; trials that failed come last.

    Raises
    ------
    BottleneckError
        If the head has no such parameter or value, or no combination can be fitted.
    """
    kind = find_head(settings.head)
    combinations = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    # all are checked before the first is fitted
    complete = [complete_params(kind, {**settings.params, **tried}) for tried in combinations]
    y, classes = data.y, len(data.classes)
    with tempfile.TemporaryDirectory(dir=settings.folder) as scratch:
        file = Path(scratch).absolute() / "features.npy"
        _write(file, data.views)
        from joblib import Parallel, delayed

        with joblib_on(settings.cluster, str(file.parent)):
            results = Parallel(n_jobs=settings.jobs)(
                delayed(_try)(settings.head, file, y, fold, classes, settings.seed, tried)
                for tried in complete
                for fold in folds
            )
    per_trial = zip(*[iter(results)] * len(folds), strict=True)
    trials = [_sum_up(t, parts) for t, parts in zip(combinations, per_trial, strict=True)]
    trials.sort(key=lambda trial: (bool(trial.reason), trial.log_loss))
    if trials[0].reason:
        raise BottleneckError(trials[0].reason)
    return tuple(trials)


@dataclass(frozen=True)
class _Result:
    log_loss: float
    accuracy: float
    seconds: float
    reason: str = ""


def _write(file: Path, views: Sequence[Located]) -> None:
    shape = (len(views), len(views[0].rows), *views[0].shape)
    X = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    for number, view in enumerate(views):
        for part in slices(len(view.rows), view.shape):
            X[number, part] = read_finite(view, part)
    X.flush()


def _try(
    head: str,
    file: Path,
    y: NDArray[np.int64],
    fold: Fold,
    classes: int,
    seed: int,
    params: Mapping[str, Any],
) -> _Result:
    X = np.load(file, mmap_mode="r")
    # copies: a head may overwrite its features
    train = Sample(np.concatenate([view[fold.train] for view in X]), np.tile(y[fold.train], len(X)))
    val = Sample(X[0][fold.val], y[fold.val])
    started = time.perf_counter()
    try:
        fitted = find_head(head).fit(train, val, classes, seed, params)
    except BottleneckError as error:
        return _Result(math.inf, 0.0, time.perf_counter() - started, str(error))
    seconds = time.perf_counter() - started
    parts = slices(len(fold.score), X.shape[2:])
    proba = np.concatenate([fitted.predict_proba(X[0][fold.score[part]]) for part in parts])
    from sklearn.metrics import log_loss

    right = y[fold.score]
    # in double precision: rows of float32 sum to 1 only approximately
    proba = proba.astype(np.float64) / proba.sum(axis=1, keepdims=True, dtype=np.float64)
    return _Result(
        float(log_loss(right, proba, labels=np.arange(classes))),
        float((proba.argmax(axis=1) == right).mean()),
        seconds,
    )


def _sum_up(params: Mapping[str, Any], results: Sequence[_Result]) -> Trial:
    losses = np.array([result.log_loss for result in results])
    reasons = [result.reason for result in results if result.reason]
    return Trial(
        params=params,
        log_loss=float(losses.mean()),
        accuracy=float(np.mean([result.accuracy for result in results])),
        spread=math.inf if reasons else float(losses.std()),
        seconds=sum(result.seconds for result in results),
        reason=reasons[0] if reasons else "",
    )


def trial_lines(trials: Sequence[Trial]) -> Iterator[list[str]]:
    """Format trials as rows of a table with the headings `COLUMNS`.

    Examples
    --------
    >>> list(trial_lines([Trial({"C": 1.0}, 0.25, 0.9, 0.0, 1.5)]))
    [['{"C": 1.0}', '0.250000', '0.000000', '0.900000', '1.500', '']]
    """
    for trial in trials:
        numbers = (trial.log_loss, trial.spread, trial.accuracy)
        yield [
            json.dumps(dict(trial.params)),
            *(f"{number:.6f}" for number in numbers),
            f"{trial.seconds:.3f}",
            trial.reason,
        ]
