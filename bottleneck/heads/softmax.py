"""One dense layer on normalised features, trained by gradient descent."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.errors import BottleneckError
from bottleneck.heads.registry import Sample

FILE_NAME = "head.keras"

# Rows the model is given at a time where nothing is learnt.
_SLICE = 4096


@dataclass(frozen=True)
class Softmax:
    """A fitted dense layer.

    Attributes
    ----------
    model : keras.Model
        From features ``(n, d)`` to probabilities ``(n, classes)``.
    chosen : dict
        ``epochs``, after which the validation loss was least, and that loss.
    """

    model: Any
    chosen: Mapping[str, Any]

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Probabilities, shape (n, classes), of features, shape (n, d)."""
        return np.asarray(self.model.predict_on_batch(X), np.float32)

    def save(self, folder: Path, /) -> None:
        """Write ``head.keras``."""
        self.model.save(folder / FILE_NAME)


def fit(train: Sample, val: Sample, classes: int, seed: int, params: Mapping[str, Any]) -> Softmax:
    """Train until the validation loss has not fallen for some epochs, and keep the best epoch.

    Parameters
    ----------
    train, val : Sample
    classes : int
    seed : int
        Of the initial weights and the order of the images.
    params : dict
        ``learning_rate`` of Adam (Kingma and Ba 2015), ``batch_size`` in images, at most so many
        ``epochs``, and ``patience``, in epochs.
    """
    keras = load_keras()
    model = keras.Sequential(
        [
            keras.Input((train.X.shape[1],)),
            _normalization(train.X),
            keras.layers.Dense(
                classes,
                activation="softmax",
                kernel_initializer=keras.initializers.GlorotUniform(seed),
            ),
        ]
    )
    model.compile(keras.optimizers.Adam(params["learning_rate"]), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(seed)
    best_loss, best_epoch, best_weights = np.inf, 0, model.get_weights()
    for epoch in range(1, params["epochs"] + 1):
        # Not model.fit: it draws its order from a seed of the whole process, and with a dataset of
        # ours it fetches ahead while the order changes, so that no two fits are the same.
        order = rng.permutation(len(train.y))
        for start in range(0, len(order), params["batch_size"]):
            rows = order[start : start + params["batch_size"]]
            model.train_on_batch(train.X[rows], train.y[rows])
        loss = _loss(model, val)
        if loss < best_loss:
            best_loss, best_epoch, best_weights = loss, epoch, model.get_weights()
        elif epoch - best_epoch >= params["patience"]:
            break
    model.set_weights(best_weights)
    return Softmax(model, {"epochs": best_epoch, "val_log_loss": best_loss})


def load(folder: Path) -> Softmax:
    """Read ``head.keras`` in safe mode: no code in it is ever run.

    Raises
    ------
    BottleneckError
        It is missing or damaged, or would have to run code.
    """
    file = folder / FILE_NAME
    try:
        model = load_keras().models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what it likes on foreign files
        reason = " ".join(str(error).split())[:300]
        raise BottleneckError(
            f"{file} is not a head that can be trusted and read ({reason}); fit it again with: bottleneck fit-head"
        ) from error
    return Softmax(model, {})


def _normalization(X: NDArray[np.float32]) -> Any:
    # in slices, for X may be larger than memory
    starts = range(0, len(X), _SLICE)
    mean = sum(X[i : i + _SLICE].sum(axis=0, dtype=np.float64) for i in starts) / len(X)
    squares = sum(np.square(X[i : i + _SLICE] - mean).sum(axis=0) for i in starts) / len(X)
    # a feature that never changes is left as it is, as scikit-learn's StandardScaler does
    variance = np.where(squares > 0, squares, 1.0)
    return load_keras().layers.Normalization(mean=mean, variance=variance)


def _loss(model: Any, sample: Sample) -> float:
    right = [
        model.predict_on_batch(sample.X[i : i + _SLICE])[np.arange(len(y)), y]
        for i, y in ((i, sample.y[i : i + _SLICE]) for i in range(0, len(sample.y), _SLICE))
    ]
    # the least positive float32, so that a probability of 0 costs much and not everything
    return float(-np.log(np.maximum(np.concatenate(right), np.finfo(np.float32).tiny)).mean())
