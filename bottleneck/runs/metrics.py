"""How well probabilities agree with labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "top_k",
    "log_loss",
    "calibration_error",
)

# Bins of confidence the calibration error is summed over, as in its paper.
CONFIDENCE_BINS = 15

# Columns of `contributions` before those of the classes: the image itself, its log loss, whether the
# right class is among the first k, and the bins.
_FIXED = 3 + CONFIDENCE_BINS


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

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better: accuracy first, then log loss."""
        return self.accuracy, -self.log_loss


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
    sums = np.asarray(contributions(y, probabilities, k=1).sum(axis=0))[None]
    values = dict(zip(METRICS, map(float, figures(sums)[0]), strict=True))
    return Metrics(
        images=len(y),
        accuracy=values["accuracy"],
        balanced_accuracy=values["balanced_accuracy"],
        macro_f1=values["macro_f1"],
        log_loss=values["log_loss"],
    )


def contributions(y: NDArray[np.int64], probabilities: NDArray[np.float32], k: int) -> Any:
    """Tell what each image adds to the sums that all metrics are made of.

    Every metric is a function of sums over images, so that those of a thousand resamples are one
    product of matrices.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Right classes.
    probabilities : ndarray of float32, shape (n, classes)
        Rows sum to 1.
    k : int
        Of the top-k accuracy.

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n, columns)
        For `figures`, once summed.
    """
    # imported here: reading a run does not need it
    import scipy.sparse

    n, classes = probabilities.shape
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # float32 rows sum to 1 within 1e-7 only
    rows = np.arange(n)
    predicted = exact.argmax(axis=1)
    confidence, right = exact[rows, predicted], exact[rows, y]
    # a tie goes to the class that comes first, as argmax has it: top-1 is the accuracy
    before = (exact > right[:, None]) | (
        (exact == right[:, None]) & (np.arange(classes) < y[:, None])
    )
    # the least difference from 0 that scikit-learn's log_loss tells too
    loss = -np.log(np.maximum(right, np.finfo(np.float64).eps))
    bins = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(np.int64) - 1, 0, None)
    hit = predicted == y
    columns = (
        np.zeros(n, np.int64),
        np.full(n, 1),
        np.full(n, 2),
        3 + bins,
        _FIXED + y,
        _FIXED + classes + predicted,
        _FIXED + 2 * classes + y,
    )
    values = (
        np.ones(n),
        loss,
        before.sum(axis=1) < k,
        hit - confidence,
        np.ones(n),
        np.ones(n),
        hit,
    )
    return scipy.sparse.csr_array(
        (
            np.stack(values, axis=1, dtype=np.float64).ravel(),
            (np.repeat(rows, len(values)), np.stack(columns, axis=1).ravel()),
        ),
        shape=(n, _FIXED + 3 * classes),
    )


def figures(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute metrics from sums of `contributions`.

    Parameters
    ----------
    sums : ndarray of float64, shape (m, columns)
        A row for each set of images, or each resample of one.

    Returns
    -------
    ndarray of float64, shape (m, 6)
        In the order of `METRICS`. Classes that do not occur are left out of averages over classes.

    Notes
    -----
    The expected calibration error is that of Guo et al. 2017, On Calibration of Modern Neural
    Networks: the difference between confidence and accuracy, over bins of confidence of equal width.
    """
    images, loss, top_k = sums[:, 0], sums[:, 1], sums[:, 2]
    gaps = sums[:, 3:_FIXED]
    labelled, predicted, hits = np.split(sums[:, _FIXED:], 3, axis=1)
    either = labelled + predicted
    with np.errstate(invalid="ignore"):  # 0 / 0: the class is not there
        recall, f1 = hits / labelled, 2 * hits / either
    return np.stack(
        [
            hits.sum(axis=1) / images,
            np.nanmean(recall, axis=1),
            np.nanmean(f1, axis=1),
            top_k / images,
            loss / images,
            np.abs(gaps).sum(axis=1) / images,
        ],
        axis=1,
    )
