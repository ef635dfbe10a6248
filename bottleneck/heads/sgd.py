"""Logistic regression by stochastic gradient descent, for features larger than memory."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from bottleneck.heads.contract import Sample
from bottleneck.heads.epochs import class_weights, train_epochs, validate
from bottleneck.heads.estimators import SCALERS, Fitted, load
from bottleneck.heads.scaling import scale_in_place

__all__ = ["fit", "load"]


def fit(
    train: Sample,
    val: Sample,
    classes: int,
    seed: int,
    params: Mapping[str, Any],
) -> Fitted:
    """Train batch by batch with early stopping, and keep the epoch with the lowest validation loss.

    Parameters
    ----------
    train, val : Sample
        Overwritten with scaled features.
    classes : int
        Number of classes. Each occurs in `train`.
    seed : int
        Random seed for the order of the images.
    params : dict
        ``alpha``: strength of the regularisation; ``batch_size`` in images; ``epochs``: maximum number;
        ``patience`` in epochs; ``class_weight``.

    Notes
    -----
    Learning-rate schedule: Bottou 2012, Stochastic Gradient Descent Tricks. The weights are averaged over
    the steps (Polyak and Juditsky 1992).
    """
    train, val = train.flat(), val.flat()
    # the initial learning rate suits feature vectors of length 1
    scalers = [scaler() for scaler in SCALERS["unit"]]
    scale_in_place(scalers, train, val)
    model = SGDClassifier(loss="log_loss", alpha=params["alpha"], average=True, random_state=seed)
    weights = class_weights(train.y, classes, params["class_weight"])
    best = model

    def learn(rows: NDArray[np.int64]) -> None:
        y = train.y[rows]
        model.partial_fit(train.X[rows], y, np.arange(classes), sample_weight=weights[y])

    def keep() -> None:
        nonlocal best
        best = copy.deepcopy(model)

    chosen = train_epochs(
        len(train.y),
        params["batch_size"],
        params,
        seed,
        step=learn,
        loss=lambda: validate(model.predict_proba, val, weights).log_loss,
        keep=keep,
    )
    return Fitted(make_pipeline(*scalers, best), chosen)
