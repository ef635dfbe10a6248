"""Checks of a head that was just loaded."""

from pathlib import Path

import numpy as np

from bottleneck.errors import BottleneckError, one_line
from bottleneck.heads.contract import LoadedHead

# Features of one image that no base exceeds, the largest maps included: a file may claim more, and would have it
# allocated.
_MAX_FEATURES = 2**26

# How far probabilities may be from 1 in sum: single precision, over thousands of classes.
_TOLERANCE = 1e-3


def check_loaded(head: LoadedHead, folder: Path, classes: int) -> None:
    """Check that a head gives probabilities of the run's classes: one prediction uses every part of it.

    Parameters
    ----------
    head : Head
    folder : Path
        For errors.
    classes : int
        Number of classes of the run.

    Raises
    ------
    BottleneckError
        It gives none, gives NaN, or those of another number of classes.
    """
    try:
        found = _find_fault(head, classes)
    except Exception as error:  # a forged head may raise anything
        found = f"it cannot predict: {one_line(error)[:300]}"
    if found:
        raise BottleneckError(
            f"the head in {folder} is damaged: {found}; fit it again with: bottleneck fit-head"
        )


def _find_fault(head: LoadedHead, classes: int) -> str:
    shape = head.feature_shape
    if not all(isinstance(side, int) and side > 0 for side in shape):
        return f"it takes features of shape {shape}"
    if np.prod(shape, dtype=float) > _MAX_FEATURES:
        return f"it takes {np.prod(shape, dtype=float):,.0f} features, expected {_MAX_FEATURES:,} or fewer"
    probabilities = head.predict_proba(np.zeros((1, *shape), np.float32))
    if probabilities.shape != (1, classes):
        return f"expected probabilities of {classes} classes, found shape {probabilities.shape[1:]}"
    if not (
        np.isfinite(probabilities).all()
        and (probabilities >= 0).all()
        and abs(float(probabilities.sum()) - 1) <= _TOLERANCE
    ):
        return "its probabilities are NaN, or not from 0 to 1 with a sum of 1"
    return ""


def check_features(head: LoadedHead, folder: Path, shape: tuple[int, ...]) -> None:
    """Check that a head takes features of the shape that its run's recipes have.

    Raises
    ------
    BottleneckError
        It takes others.
    """
    # where no image can be used there are no features, of any shape
    if 0 not in shape and np.prod(head.feature_shape) != np.prod(shape):
        raise BottleneckError(
            f"the head in {folder} takes features of shape {head.feature_shape}, and the run's recipes have {shape}; "
            "fit it again with: bottleneck fit-head"
        )
