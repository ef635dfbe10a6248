"""Heads that are small neural networks trained by gradient descent: softmax, dense, conv."""

import itertools
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from bottleneck.bases.backend import load_keras
from bottleneck.errors import BottleneckError
from bottleneck.heads.contract import Sample
from bottleneck.heads.epochs import class_weights, steps, train_epochs, validate
from bottleneck.heads.scaling import scale_in_place
from bottleneck.heads.schedule import rate_share

FILE_NAME = "head.keras"

# Fifty batches per epoch, limited to between 32 images each (Masters and Luschi 2018, Revisiting Small
# Batch Training) and 1,024, where the optimiser's overhead is negligible.
_BATCHES, _LEAST, _MOST = 50, 32, 1024

# Share of the steps in which the learning rate rises.
_WARM_UP = 0.05

# All classes that a head's file may name: layers and their configuration. No other is looked up.
_TRUSTED = {
    *("Sequential", "InputLayer", "Normalization", "Dense", "Conv2D", "GlobalAveragePooling2D"),
    *("BatchNormalization", "Activation", "Dropout", "Softmax", "DTypePolicy"),
    *("HeNormal", "Zeros", "Ones"),
}
_MODULES = {"keras", "keras.layers", "keras.initializers"}


@dataclass(frozen=True)
class Network:
    """A fitted neural network.

    Attributes
    ----------
    model : keras.Model
        From features to probabilities ``(n, classes)``.
    chosen : dict
        ``epochs`` with the lowest validation loss, that loss, and ``batch_size``.
    """

    model: Any
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        return tuple(self.model.input_shape[1:])

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Predict class probabilities, shape (n, classes); maps are flattened for heads on vectors."""
        shape = self.model.input_shape[1:]
        return np.asarray(self.model.predict_on_batch(X.reshape(len(X), *shape)), np.float32)

    def save(self, folder: Path, /) -> None:
        """Write ``head.keras``."""
        self.model.save(folder / FILE_NAME)


def fit(
    train: Sample,
    val: Sample,
    classes: int,
    seed: int,
    params: Mapping[str, Any],
) -> Network:
    """Train with early stopping on the validation loss, and keep the best epoch.

    Parameters
    ----------
    train, val : Sample
        Overwritten with standardised features.
    classes : int
        Number of classes. Each occurs in `train`.
    seed : int
        Random seed for the initial weights, dropout and the order of the images.
    params : dict
        ``filters``, ``kernel`` and ``hidden``: sizes of the layers; ``dropout`` after each hidden
        layer; ``batch_norm`` before each activation; ``learning_rate``; ``batch_size`` in images;
        ``epochs``: maximum number; ``patience`` in epochs; ``label_smoothing``; ``weight_decay``;
        ``class_weight``.

    Notes
    -----
    Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), and a cosine
    learning-rate schedule (Loshchilov and Hutter 2017) with warm-up (Goyal et al. 2017).
    Dropout: Srivastava et al. 2014. Batch normalisation: Ioffe and Szegedy 2015. Label smoothing:
    Szegedy et al. 2016. Initial weights: He et al. 2015.
    """
    keras = load_keras()
    if "filters" not in params:
        train, val = train.flat(), val.flat()
    scaler = StandardScaler()
    scale_in_place([scaler], train, val)
    count = len(train.y)
    size = params["batch_size"] or int(np.clip(count // _BATCHES, _LEAST, _MOST))
    # standardisation is not part of the training: it is done once, here
    body = keras.Sequential(
        [keras.Input(train.X.shape[1:]), *_layers(keras, params, classes, seed)]
    )
    body.compile(
        _optimizer(keras, params),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=params["label_smoothing"]
        ),
    )
    weights = class_weights(train.y, classes, params["class_weight"])
    one_hot = np.eye(classes, dtype=np.float32)
    best: list[Any] = []
    total, done = params["epochs"] * steps(count, size), itertools.count()

    def learn(rows: NDArray[np.int64]) -> None:
        # Not model.fit: its order depends on the global seed of the process, and with a custom dataset it
        # prefetches while the order changes, so that fits are not reproducible.
        share = rate_share(next(done), total, _WARM_UP)
        body.optimizer.learning_rate = params["learning_rate"] * share
        y = train.y[rows]
        body.train_on_batch(train.X[rows], one_hot[y], sample_weight=weights[y])

    def proba(X: NDArray[np.float32]) -> NDArray[np.float32]:
        softmax: NDArray[np.float32] = keras.ops.convert_to_numpy(
            keras.ops.softmax(body.predict_on_batch(X))
        )
        return softmax

    def keep() -> None:
        best[:] = body.get_weights()

    chosen = train_epochs(
        count,
        size,
        params,
        seed,
        step=learn,
        loss=lambda: validate(proba, val, weights).log_loss,
        keep=keep,
    )
    body.set_weights(best)
    model = keras.Sequential(
        [
            keras.Input(train.X.shape[1:]),
            keras.layers.Normalization(mean=scaler.mean_, variance=np.square(scaler.scale_)),
            *body.layers,
            keras.layers.Softmax(),
        ]
    )
    return Network(model, {**chosen, "batch_size": size})


def load(folder: Path) -> Network:
    """Read ``head.keras`` in safe mode, after checking every class it names: none of its code runs.

    Raises
    ------
    BottleneckError
        If it is missing, damaged, or names anything but the layers of such a head.
    """
    file = folder / FILE_NAME
    try:
        _check_classes(file)
        model = load_keras().models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types on foreign files
        reason = " ".join(str(error).split())[:300]
        raise BottleneckError(
            f"{file} is not a head that can be trusted and read ({reason}); fit it again with: bottleneck fit-head"
        ) from error
    return Network(model)


def _layers(keras: Any, params: Mapping[str, Any], classes: int, seed: int) -> Iterator[Any]:
    layers, initial = keras.layers, keras.initializers
    filters, hidden = params.get("filters", []), params.get("hidden", [])
    normalised = params.get("batch_norm", False)
    for number, width in enumerate([*filters, *hidden]):
        # a seed for each layer, otherwise layers of the same shape would start equal
        options = {
            "use_bias": not normalised,
            "kernel_initializer": initial.HeNormal(seed + number),
        }
        if number < len(filters):
            yield layers.Conv2D(width, params["kernel"], padding="same", **options)
        else:
            yield layers.Dense(width, **options)
        if normalised:
            yield layers.BatchNormalization()
        yield layers.Activation("relu")
        if number + 1 == len(filters):
            yield layers.GlobalAveragePooling2D()
        if number >= len(filters) and params["dropout"]:
            yield layers.Dropout(params["dropout"], seed=seed + number)
    # zeros: at the start all classes have the same probability
    yield layers.Dense(classes, kernel_initializer="zeros")


def _optimizer(keras: Any, params: Mapping[str, Any]) -> Any:
    # the rate is set at each step
    if not params["weight_decay"]:
        return keras.optimizers.Adam(1.0)
    optimizer = keras.optimizers.AdamW(1.0, weight_decay=params["weight_decay"])
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _check_classes(file: Path) -> None:
    """Raise an error for a file that names a class which is not part of such a head."""
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    for part in _objects(config):
        if "class_name" not in part:
            continue
        named = (part.get("module"), part["class_name"], part.get("registered_name"))
        if named[0] not in _MODULES or named[1] not in _TRUSTED or named[2] is not None:
            raise ValueError(f"it names {named[0]}.{named[1]}, which is not part of a head")


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, (dict, list)):
            yield from _objects(value)
