"""Transferability scores: how well features suit labels, without training a head."""

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

# The fixed-point iteration that maximises the evidence mostly converges within ten steps.
_STEPS = 100
_SETTLED = 1e-4


def logme(X: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Compute LogME: the log of the maximum evidence of labels given features, per image and class.

    This is the probability of the labels under a linear model of the features, with all weights integrated
    out and both variances chosen to maximise it. Higher is better. Values are comparable between
    features of the same images, also of different lengths.

    Parameters
    ----------
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)

    Returns
    -------
    float

    Notes
    -----
    You, Liu, Wang and Long 2021, LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning; the fixed point is MacKay's (1992), as there.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 3, 200)
    >>> noise = rng.standard_normal((200, 16), np.float32)
    >>> logme(noise + np.eye(3, 16, dtype=np.float32)[y] * 3, y) > logme(noise, y)
    True
    """
    n, d = X.shape
    wide = X.astype(np.float64)
    targets = (y[:, None] == np.unique(y)).astype(np.float64)
    # squared singular values, and the targets in their basis, from the smaller of the two Gram
    # matrices: many times faster than a singular value decomposition
    if n <= d:
        s, U = np.linalg.eigh(wide @ wide.T)
        projected = U.T @ targets
    else:
        s, V = np.linalg.eigh(wide.T @ wide)
        with np.errstate(invalid="ignore", divide="ignore"):
            projected = (V.T @ (wide.T @ targets)) / np.sqrt(s)[:, None]
    kept = s > s.max() * np.finfo(float).eps * max(n, d)
    # the evidence does not depend on the scale of the features, and neither should the starting point
    s, projected = s[kept] / s.max(), projected[kept]
    evidences = []
    for target, along in zip(targets.T, projected.T, strict=True):
        x2 = along**2
        beyond = max(target @ target - x2.sum(), 0.0)  # the part that no weights can explain
        alpha = beta = 1.0
        for _ in range(_STEPS):
            t = alpha / beta
            gamma = (s / (s + t)).sum()
            weights = (s * x2 / (s + t) ** 2).sum()
            residual = (x2 * (t / (s + t)) ** 2).sum() + beyond
            # the smallest positive numbers avoid a division by zero for a perfect fit or features of zeros
            alpha = gamma / max(weights, np.finfo(float).tiny) if gamma else 1.0
            beta = max(n - gamma, np.finfo(float).tiny) / max(residual, np.finfo(float).eps)
            if abs(alpha / beta / t - 1) < _SETTLED:
                break
        evidence = (
            len(s) * np.log(alpha)
            + n * np.log(beta)
            - np.log(alpha + beta * s).sum()
            - beta * residual
            - alpha * weights
            - n * np.log(2 * np.pi)
        ) / 2
        evidences.append(evidence / n)
    return float(np.mean(evidences))


def h_score(X: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Compute the H-score: the spread of the class means relative to the spread of the features.

    This is the trace of the covariance of the class means, relative to the covariance of all features.
    The latter is shrunk, which allows more features than images. The range is from 0 to the number of
    classes minus one.

    Parameters
    ----------
    X : ndarray of float32, shape (n, d)
    y : ndarray of int64, shape (n,)

    Returns
    -------
    float

    Notes
    -----
    Bao et al. 2019, An Information-Theoretic Approach to Transferability in Task Transfer Learning;
    shrinkage as in Ibrahim, Ponomareva and Mazumder 2022, Newer is not always better, by Ledoit and Wolf
    2004.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 3, 200)
    >>> noise = rng.standard_normal((200, 16), np.float32)
    >>> h_score(noise + np.eye(3, 16, dtype=np.float32)[y] * 9, y) > 1 > h_score(noise, y)
    True
    """
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    if not centred.any():
        return 0.0  # all features are equal
    spread = LedoitWolf(assume_centered=True, store_precision=False).fit(centred)
    classes, counts = np.unique(y, return_counts=True)
    means = np.stack([centred[y == code].mean(axis=0) for code in classes])
    between = means * np.sqrt(counts / len(y))[:, None]
    # trace(A⁻¹ BᵀB) without the d × d product
    score = np.trace(between @ np.linalg.solve(spread.covariance_, between.T))
    return float((1 - spread.shrinkage_) * score)
