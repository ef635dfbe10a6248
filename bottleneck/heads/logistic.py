"""Multinomial logistic regression on standardised features, along a regularisation path."""

import copy
import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bottleneck.heads.contract import Sample
from bottleneck.heads.epochs import Scores, class_weights, validate
from bottleneck.heads.estimators import Fitted, load
from bottleneck.heads.scaling import scale_in_place

__all__ = ["fit", "load"]

_log = logging.getLogger("bottleneck")

# From almost constant predictions to almost no regularisation: the 45 values of Kornblith et al. 2019,
# Do Better ImageNet Models Transfer Better?, whose weight of the penalty is 1/C, from 1e5 to 1e-6.
PATH = np.logspace(-5, 6, 45)

# The validation loss falls and then rises along the path. The search stops after this many steps past
# the lowest loss.
_STEPS_PAST_LOWEST = 3


# Both solvers reach the same optimum. Along the path, on features of a neural network, Newton's method takes
# a third (1,000 × 1,024) to two thirds (6,000 × 1,024) of the time of L-BFGS; on 50,000 × 2,048 twice.
_MANY = 10


def fit(
    train: Sample,
    val: Sample,
    classes: int,
    seed: int,  # noqa: ARG001 - part of the interface
    params: Mapping[str, Any],
) -> Fitted:
    """Fit along a path of decreasing regularisation, and select a model on the validation split.

    Parameters
    ----------
    train, val : Sample
        Overwritten with standardised features.
    classes : int
        Number of classes. Each occurs in `train`.
    seed : int
        Not used: the optimum is unique.
    params : dict
        ``C``: use this value instead of choosing one; ``max_iter``: maximum number of iterations for each
        value; ``class_weight``.

    Notes
    -----
    Warm start: each fit starts from the previous ones, which takes a fraction of the time (Friedman,
    Hastie and Tibshirani 2010, Regularization Paths for Generalized Linear Models). The start is a linear
    extrapolation of the last two solutions (Park and Hastie 2007, L1-regularization path algorithm for
    generalized linear models).
    """
    train, val = train.flat(), val.flat()
    scaler = StandardScaler()
    scale_in_place([scaler], train, val)
    weights = class_weights(train.y, classes, params["class_weight"])
    model = LogisticRegression(
        solver="lbfgs" if len(train.X) > _MANY * train.X.shape[1] else "newton-cg",
        warm_start=True,
        max_iter=params["max_iter"],
        class_weight=params["class_weight"],
    )
    path: list[tuple[Any, Scores]] = []
    behind = None
    for C in [params["C"]] if params["C"] else PATH.tolist():
        model.C = C
        behind = _look_ahead(model, behind)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # reported below for the chosen model
            # at the optimum, float32 may be too coarse for a better point
            warnings.filterwarnings("ignore", message="(?i).*line search")
            model.fit(train.X, train.y)
        path.append((copy.deepcopy(model), validate(model.predict_proba, val, weights)))
        losses = [scores.log_loss for _, scores in path]
        if len(losses) - 1 - np.argmin(losses) == _STEPS_PAST_LOWEST:
            break
    best, scores = _choose(path, len(val.y))
    if best.n_iter_.max() >= params["max_iter"]:
        _log.warning(
            "The logistic regression had not converged after %d iterations; allow more with --param max_iter=N",
            params["max_iter"],
        )
    return Fitted(make_pipeline(scaler, best), {"C": best.C, "val_log_loss": scores.log_loss})


def _choose(path: list[tuple[Any, Scores]], count: int) -> tuple[Any, Scores]:
    """Choose the lowest validation loss within one standard error of the best accuracy.

    With many images, the loss alone would choose too little regularisation: it keeps falling while the
    accuracy already falls and confidence rises. With few images, many models are within one standard
    error, and the loss decides. One-standard-error rule: Breiman et al. 1984, Classification and
    Regression Trees.
    """
    most = max(scores.accuracy for _, scores in path)
    error = math.sqrt(most * (1 - most) / count)
    good = [entry for entry in path if entry[1].accuracy >= most - error]
    return min(good, key=lambda entry: entry[1].log_loss)


def _look_ahead(model: Any, behind: Any) -> Any:
    """Start the next fit at the linear extrapolation of the last two.

    Returns
    -------
    tuple of ndarray or None
        Coefficients and intercepts of the last fit, for the next call.
    """
    if not hasattr(model, "coef_"):
        return None
    last = (model.coef_, model.intercept_)
    if behind is not None:
        model.coef_, model.intercept_ = (2 * b - a for a, b in zip(behind, last, strict=True))
    return last
