"""Multinomial logistic regression on standardised features, along a path of regularisation."""

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

# The loss on the validation split falls and rises once along the path; so many steps past the least
# one make sure of it.
_STEPS_PAST_THE_LEAST = 3


# Both solvers end at the same optimum. Along the path over features of a network's kind Newton's method
# takes a third (1,000 × 1,024) to two thirds (6,000 × 1,024) of the time; over 50,000 × 2,048 it takes twice.
_MANY = 10


def fit(
    train: Sample,
    val: Sample,
    classes: int,
    seed: int,  # noqa: ARG001 - every head is given one
    params: Mapping[str, Any],
) -> Fitted:
    """Fit along a path of falling regularisation and keep the best model on the validation split.

    Parameters
    ----------
    train, val : Sample
        Overwritten with standardised features.
    classes : int
        Each occurs in `train`.
    seed : int
        Not used: the optimum is unique.
    params : dict
        ``C``: a value to use rather than choose one; ``max_iter``: of the solver, for each value;
        ``class_weight``.

    Notes
    -----
    Each model starts from those before, which costs a fraction of starting from nothing:
    Friedman, Hastie and Tibshirani 2010, Regularization Paths for Generalized Linear Models. It
    starts where the last two point to: Park and Hastie 2007, L1-regularization path algorithm for
    generalized linear models.
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
            warnings.simplefilter("ignore", ConvergenceWarning)  # told below where it matters
            # at the optimum there may be no better point that single precision can tell
            warnings.filterwarnings("ignore", message="(?i).*line search")
            model.fit(train.X, train.y)
        path.append((copy.deepcopy(model), validate(model.predict_proba, val, weights)))
        losses = [scores.log_loss for _, scores in path]
        if len(losses) - 1 - np.argmin(losses) == _STEPS_PAST_THE_LEAST:
            break
    best, scores = _choose(path, len(val.y))
    if best.n_iter_.max() >= params["max_iter"]:
        _log.warning(
            "The logistic regression had not converged after %d iterations; allow more with --param max_iter=N",
            params["max_iter"],
        )
    return Fitted(make_pipeline(scaler, best), {"C": best.C, "val_log_loss": scores.log_loss})


def _choose(path: list[tuple[Any, Scores]], count: int) -> tuple[Any, Scores]:
    """Take the least loss among models whose accuracy is within a standard error of the best.

    With many images the loss alone would choose too late: it goes on falling while the model, right
    less often, becomes sure enough of itself. With few it is the loss that tells models apart. The rule is of Breiman
    et al. 1984, Classification and Regression Trees.
    """
    most = max(scores.accuracy for _, scores in path)
    error = math.sqrt(most * (1 - most) / count)
    good = [entry for entry in path if entry[1].accuracy >= most - error]
    return min(good, key=lambda entry: entry[1].log_loss)


def _look_ahead(model: Any, behind: Any) -> Any:
    """Let the next fit start as far beyond the last as that is from the one before.

    Returns
    -------
    tuple of ndarray or None
        The last fit's coefficients and intercepts, for the next call.
    """
    if not hasattr(model, "coef_"):
        return None
    last = (model.coef_, model.intercept_)
    if behind is not None:
        model.coef_, model.intercept_ = (2 * b - a for a, b in zip(behind, last, strict=True))
    return last
