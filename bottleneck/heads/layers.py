"""Heads as layers of a network, so that a base and its head become one graph."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.bases.backend import load_keras
from bottleneck.heads.contract import Head
from bottleneck.heads.estimators import Fitted
from bottleneck.heads.networks import Network

# Classifiers that are one dense layer: a value for each class, or one for the second of two.
_LINEAR = (
    LogisticRegression,
    RidgeClassifier,
    LinearSVC,
    LinearDiscriminantAnalysis,
    SGDClassifier,
)


# Those of `bottleneck.heads.registry.HEADS` that can be layers.
LAYERED = ("logistic", "sgd", "softmax", "dense", "conv", "ridge", "svm", "lda")


def has_layers(head: Head) -> bool:
    """Whether a head is a network or linear, so that `as_layers` gives layers for it."""
    if isinstance(head, Fitted):
        return isinstance(_classifier(head.pipeline.steps[-1][1])[0], _LINEAR)
    return isinstance(head, Network)


def as_layers(head: Head, shape: tuple[int, ...]) -> Any | None:
    """Turn a fitted head into layers of Keras.

    Those of a Keras head are taken as they are. Of a linear classifier of scikit-learn, its scaling and
    the temperature of its calibration are folded into one dense layer; where each image is brought to
    length 1 first, that stays a layer of its own.

    Parameters
    ----------
    head : Head
    shape : tuple of int
        Of one image's features.

    Returns
    -------
    keras.Sequential or None
        From features to values whose softmax are the head's probabilities. None where the head is
        neither a network nor linear.

    Examples
    --------
    >>> from bottleneck.heads.registry import Sample, complete_params, find_head
    >>> rng = np.random.default_rng(0)
    >>> sample = Sample(rng.normal(size=(40, 5)).astype("float32"), np.arange(40) % 3)
    >>> X = sample.X.copy()
    >>> ridge = find_head("ridge")
    >>> head = ridge.fit(sample, sample, 3, 0, complete_params(ridge, {}))
    >>> values = as_layers(head, (5,)).predict_on_batch(X)
    >>> odds = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    >>> bool(np.allclose(odds, head.predict_proba(X), atol=1e-5))
    True
    """
    if not has_layers(head):
        return None
    keras = load_keras()
    if isinstance(head, Network):
        # the last one makes probabilities of the values
        layers = head.model.layers[:-1]
        flat = len(head.model.input_shape) == 2
        return _stack(keras, shape, layers, flat=flat)
    if not isinstance(head, Fitted):
        return None
    *scalers, last = [step for _, step in head.pipeline.steps]
    classifier, factor = _classifier(last)
    W, b = _values(classifier, calibrated=last is not classifier)
    W, b = W * factor, b * factor
    layers = []
    normalised = any(isinstance(scaler, Normalizer) for scaler in scalers)
    for scaler in scalers:
        if isinstance(scaler, StandardScaler) and normalised:
            layers.append(
                keras.layers.Normalization(mean=scaler.mean_, variance=np.square(scaler.scale_))
            )
        elif isinstance(scaler, StandardScaler):
            W = W / scaler.scale_
            b = b - W @ scaler.mean_
        else:
            layers.append(keras.layers.UnitNormalization())
    # Each class against the rest: the logarithm of a sigmoid, for probabilities are divided by their sum.
    apart = isinstance(classifier, SGDClassifier) and len(W) > 2
    dense = keras.layers.Dense(len(W), "log_sigmoid" if apart else None, name="logits")
    stack = _stack(keras, shape, [*layers, dense], flat=True)
    dense.set_weights([W.T, b])
    return stack


def _stack(keras: Any, shape: tuple[int, ...], layers: list[Any], *, flat: bool) -> Any:
    flatten = [keras.layers.Flatten()] if flat and len(shape) > 1 else []
    return keras.Sequential([keras.Input(shape), *flatten, *layers], name="head")


def _classifier(last: Any) -> tuple[Any, float]:
    """Give the classifier a pipeline ends in, and what calibration multiplies its values by."""
    if not isinstance(last, CalibratedClassifierCV) or last.method != "temperature":
        return last, 1.0
    calibrated = last.calibrated_classifiers_[0]
    frozen = calibrated.estimator
    inner = frozen.estimator if isinstance(frozen, FrozenEstimator) else frozen
    return inner, float(calibrated.calibrators[0].beta_)


def _values(
    classifier: Any, *, calibrated: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients and intercepts for each class, also where there are two and one value for both."""
    W = np.atleast_2d(np.asarray(classifier.coef_, np.float64))
    b = np.asarray(classifier.intercept_, np.float64).reshape(-1)
    if len(W) > 1:
        return W, b
    # of two classes the value is that of the second; a temperature is applied to it either way
    first = -1.0 if calibrated else 0.0
    return np.concatenate([first * W, W]), np.concatenate([first * b, b])
