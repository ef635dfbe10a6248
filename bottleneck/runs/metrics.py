"""How well probabilities agree with labels."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """Figures of one split.

    Attributes
    ----------
    images : int
        How many images they are taken over.
    accuracy : float
        Share of images whose most probable class is the right one.
    balanced_accuracy : float
        The same for each class, averaged over the classes that occur.
    macro_f1 : float
        F1 score of each class, averaged.
    log_loss : float
        Mean of −ln p(right class), in nats.
    """

    images: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    log_loss: float


def measure(y: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Metrics:
    """Compare probabilities with labels.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Right classes; n is at least 1.
    probabilities : ndarray of float32, shape (n, classes)
        Rows sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> measure(np.array([0, 1]), np.array([[0.5, 0.5], [0.25, 0.75]], "float32"))
    Metrics(images=2, accuracy=1.0, balanced_accuracy=1.0, macro_f1=1.0, log_loss=0.490...)
    """
    # imported here: scikit-learn takes a second to load, and reading a run does not need it
    from sklearn.metrics import (
        accuracy_score,
        balanced_accuracy_score,
        f1_score,
        log_loss,
    )

    predicted = probabilities.argmax(axis=1)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # float32 rows sum to 1 within 1e-7 only
    with warnings.catch_warnings():
        # that a split lacks a class is told where it is made
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        balanced_accuracy = float(balanced_accuracy_score(y, predicted))
    return Metrics(
        images=len(y),
        accuracy=float(accuracy_score(y, predicted)),
        balanced_accuracy=balanced_accuracy,
        macro_f1=float(f1_score(y, predicted, average="macro", zero_division=0)),
        log_loss=float(log_loss(y, exact, labels=np.arange(exact.shape[1]))),
    )
