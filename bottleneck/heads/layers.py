"""Heads as Keras layers, so that a base and its head can be one graph."""

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

# Classifiers that are one dense layer: one output per class, or a single one for two classes.
_LINEAR = (
    LogisticRegression,
    RidgeClassifier,
    LinearSVC,
    LinearDiscriminantAnalysis,
    SGDClassifier,
)


# Heads of `bottleneck.heads.registry.HEADS` that can be layers.
LAYERED = ("logistic", "sgd", "softmax", "dense", "conv", "ridge", "svm", "lda")


def has_layers(head: Head) -> bool:
    """Whether `as_layers` can convert a head: it is a neural network or linear."""
    if isinstance(head, Fitted):
        return isinstance(_classifier(head.pipeline.steps[-1][1])[0], _LINEAR)
    return isinstance(head, Network)


def as_layers(head: Head, shape: tuple[int, ...]) -> Any | None:
    """Convert a fitted head to Keras layers.

    The layers of a Keras head are used as they are. For a linear scikit-learn classifier, scaling and
    calibration temperature are folded into one dense layer. Normalisation of each image to length 1 stays
    a separate layer.

    Parameters
    ----------
    head : Head
    shape : tuple of int
        Shape of the features of one image.

    Returns
    -------
    keras.Sequential or None
        From features to logits, whose softmax gives the head's probabilities. None if the head is
        neither a neural network nor linear.

    Examples
    --------
    >>> from bottleneck.heads.registry import Sample, complete_params, find_head
    >>> rng = np.random.default_rng(0)
    >>> sample = Sample(rng.normal(size=(40, 5)).astype("float32"), np.arange(40) % 3)
    >>> X = sample.X.copy()
    >>> ridge = find_head("ridge")
    >>> head = ridge.fit(sample, sample, 3, 0, complete_params(ridge, {}))
    >>> logits = as_layers(head, (5,)).predict_on_batch(X)
    >>> probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    >>> bool(np.allclose(probabilities, head.predict_proba(X), atol=1e-5))
    True
    """
    if not has_layers(head):
        return None
    keras = load_keras()
    if isinstance(head, Network):
        # the last layer is the softmax
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
    # One class against the rest: log sigmoid, because the probabilities are divided by their sum.
    apart = isinstance(classifier, SGDClassifier) and len(W) > 2
    dense = keras.layers.Dense(len(W), "log_sigmoid" if apart else None, name="logits")
    stack = _stack(keras, shape, [*layers, dense], flat=True)
    dense.set_weights([W.T, b])
    return stack


def _stack(keras: Any, shape: tuple[int, ...], layers: list[Any], *, flat: bool) -> Any:
    flatten = [keras.layers.Flatten()] if flat and len(shape) > 1 else []
    return keras.Sequential([keras.Input(shape), *flatten, *layers], name="head")


def _classifier(last: Any) -> tuple[Any, float]:
    """Return the classifier at the end of a pipeline, and the factor of its calibration."""
    if not isinstance(last, CalibratedClassifierCV) or last.method != "temperature":
        return last, 1.0
    calibrated = last.calibrated_classifiers_[0]
    frozen = calibrated.estimator
    inner = frozen.estimator if isinstance(frozen, FrozenEstimator) else frozen
    return inner, float(calibrated.calibrators[0].beta_)


def _values(
    classifier: Any, *, calibrated: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients and intercepts of each class, also for two classes with a single output."""
    W = np.atleast_2d(np.asarray(classifier.coef_, np.float64))
    b = np.asarray(classifier.intercept_, np.float64).reshape(-1)
    if len(W) > 1:
        return W, b
    # the single output is that of the second class; a temperature is applied to it with either sign
    first = -1.0 if calibrated else 0.0
    return np.concatenate([first * W, W]), np.concatenate([first * b, b])
