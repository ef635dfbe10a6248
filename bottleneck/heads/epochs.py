"""Training in epochs, with early stopping on the validation loss."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.contract import Sample
from bottleneck.heads.scaling import slices

Proba = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]


def train_epochs(
    count: int,
    batch_size: int,
    params: Mapping[str, Any],
    seed: int,
    *,
    step: Callable[[NDArray[np.int64]], object],
    loss: Callable[[], float],
    keep: Callable[[], object],
) -> dict[str, Any]:
    """Train with early stopping on the validation loss (Prechelt 1998, Early Stopping).

    Parameters
    ----------
    count, batch_size : int
        Number of rows, and rows per batch.
    params : dict
        ``epochs``: maximum number; ``patience``: number of epochs without improvement before stopping.
    seed : int
        Random seed for the order of the rows, which changes every epoch.
    step : callable
        Trains on a batch, given as row numbers.
    loss : callable
        Returns the validation loss.
    keep : callable
        Called after each epoch that is the best so far, to save the weights.

    Returns
    -------
    dict
        ``epochs``: the best epoch; ``val_log_loss``: its loss.
    """
    rng = np.random.default_rng(seed)
    best_epoch, best_loss = 0, np.inf
    for epoch in range(1, params["epochs"] + 1):
        for rows in _batches(rng.permutation(count), batch_size):
            step(rows)
        now = loss()
        # the first epoch is kept even if its loss is NaN
        if best_epoch == 0 or now < best_loss:
            best_epoch, best_loss = epoch, now
            keep()
        elif epoch - best_epoch >= params["patience"]:
            break
    return {"epochs": best_epoch, "val_log_loss": best_loss}


def _batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Divide rows into batches of almost the same size: none is left over with a row or two."""
    yield from np.array_split(order, steps(len(order), size))


def steps(count: int, batch_size: int) -> int:
    """Number of batches per epoch."""
    return -(-count // batch_size)


def class_weights(
    y: NDArray[np.int64], classes: int, how: Literal["balanced"] | None
) -> NDArray[np.float32]:
    """Compute class weights: all 1, or balanced by the frequency of the classes.

    The mean weight over `y` is 1, as in scikit-learn (King and Zeng 2001, Logistic Regression in
    Rare Events Data).

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced")
    array([0.6666667, 2.       ], dtype=float32)
    """
    if how is None:
        return np.ones(classes, np.float32)
    return (len(y) / (classes * np.bincount(y, minlength=classes))).astype(np.float32)


class Scores(NamedTuple):
    """Log loss and accuracy, each image weighted by its class."""

    log_loss: float
    accuracy: float


def validate(proba: Proba, sample: Sample, weights: NDArray[np.float32]) -> Scores:
    """Compute the log loss (in nats) and the accuracy."""
    losses, right = np.empty(len(sample.y)), np.empty(len(sample.y))
    for part in slices(len(sample.y), sample.X.shape[1:]):
        p, y = proba(sample.X[part]), sample.y[part]
        # the smallest positive float32, so that a probability of 0 has a finite loss
        losses[part] = -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).tiny))
        right[part] = p.argmax(axis=1) == y
    return Scores(*(float(np.average(of, weights=weights[sample.y])) for of in (losses, right)))
