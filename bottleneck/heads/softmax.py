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

# Added to the variance, as in Keras's BatchNormalization: a feature that never changes stays finite.
_EPSILON = 1e-3


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
        return np.asarray(self.model.predict(X, batch_size=_SLICE, verbose=0), np.float32)

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
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=params["patience"], restore_best_weights=True
    )
    history = model.fit(
        _batches(train, params["batch_size"], np.random.default_rng(seed)),
        validation_data=_batches(val, _SLICE, None),
        epochs=params["epochs"],
        callbacks=[stopping],
        verbose=0,
    ).history["val_loss"]
    best = int(np.argmin(history))
    return Softmax(model, {"epochs": best + 1, "val_log_loss": float(history[best])})


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
    return load_keras().layers.Normalization(mean=mean, variance=squares + _EPSILON)


def _batches(sample: Sample, size: int, rng: np.random.Generator | None) -> Any:
    """A Keras dataset that takes batches from arrays without copying them as a whole."""
    keras = load_keras()

    class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]  # no types
        def __init__(self) -> None:
            super().__init__()
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(sample.y) // size)

        def __getitem__(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            rows = self.order[number * size : (number + 1) * size]
            return sample.X[rows], sample.y[rows]

        def on_epoch_end(self) -> None:
            self.order = np.arange(len(sample.y))
            if rng is not None:
                rng.shuffle(self.order)

    return Batches()
