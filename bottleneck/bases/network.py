"""A frozen base with preprocessing and pooling: one graph from pixels to features."""

import contextlib
import difflib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import TOP, Base, Preprocessing, empty_map
from bottleneck.bases.weights import WeightsSource, build_with_weights, tensor_digest
from bottleneck.errors import BottleneckError

Pool = Literal["avg", "max", "none"]
POOLS: tuple[Pool, ...] = get_args(Pool)

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Network:
    """A base ready to run.

    Attributes
    ----------
    model : keras.Model
        From uint8 pixels ``(n, size, size, 3)`` to float32 features, a tensor for each tap;
        preprocessing and pooling are part of it, and it is built once.
    taps : tuple of str
    weights_digest : str
        SHA-256 of the base's tensors, see `bottleneck.bases.weights.tensor_digest`.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the base's computation.
    again : callable
        Builds the same network in another precision.
    """

    model: Any
    taps: tuple[str, ...]
    weights_digest: str
    precision: Precision
    again: Callable[[Precision], "Network"]

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features for each tap: ``(d,)`` pooled, ``(h, w, d)`` otherwise."""
        return tuple(tuple(output.shape[1:]) for output in self.model.outputs)

    def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run the base over one batch.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, size, size, 3)
            Keep `n` the same from call to call: another `n` is another graph, and changes the last
            bits of the result.

        Returns
        -------
        tuple of ndarray of float32, each of shape (n, *feature_shape)
            One for each tap.
        """
        # predict_on_batch runs layers in inference mode: BatchNorm uses its stored statistics
        # of a single tap it gives the array by itself
        outputs = load_keras().tree.flatten(self.model.predict_on_batch(pixels))
        return tuple(np.asarray(output, dtype=np.float32) for output in outputs)


def build_network(
    base: Base,
    weights: WeightsSource,
    taps: tuple[str, ...],
    pool: Pool,
    image_size: int,
    precision: Precision = "float32",
) -> Network:
    """Build a base up to some taps, with preprocessing below and pooling above them.

    Parameters
    ----------
    base : Base
    weights : WeightsSource
    taps : tuple of str
        The base is run once for all of them.
    pool : {"avg", "max", "none"}
    image_size : int
        Side of the images, in pixels.
    precision : {"float32", "bfloat16", "float16"}
        What the base computes in, see Micikevicius et al. 2018, Mixed Precision Training. Weights,
        preprocessing and pooling are float32 all the same.

    Raises
    ------
    BottleneckError
        The weights are missing or do not fit, or the tap does not exist.
    """
    keras = load_keras()
    with computing_in(precision):
        whole = build_with_weights(base, weights, image_size)
    digest = tensor_digest(whole)
    whole.trainable = False
    frozen = keras.Model(whole.input, [tap_tensor(base, whole, tap) for tap in taps])

    pixels = keras.Input((image_size, image_size, 3), dtype="uint8")
    maps = keras.tree.flatten(frozen(preprocess(pixels, base.preprocessing), training=False))
    features = [pool_map(base, *each, pool) for each in zip(taps, maps, strict=True)]
    again = functools.partial(build_network, base, weights, taps, pool, image_size)
    return Network(keras.Model(pixels, features), taps, digest, precision, again)


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Make new layers compute in a precision, by setting Keras's process-wide policy and restoring it."""
    keras = load_keras()
    before = keras.config.dtype_policy()
    # set explicitly, because the recipe and not the user's own setting decides
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def pool_map(base: Base, tap: str, features: Any, pool: Pool) -> Any:
    """Pool the output of a tap.

    Parameters
    ----------
    base : Base
    tap : str
    features : keras tensor, shape (n, ...)
        Output of the tap.
    pool : {"avg", "max", "none"}

    Returns
    -------
    keras tensor of float32, shape (n, d), or of `features` where they are not pooled

    Raises
    ------
    BottleneckError
        The tap gives no map, so there is nothing to pool.
    """
    keras = load_keras()
    if pool != "none" and len(features.shape) != 4:
        raise BottleneckError(
            f"tap {tap} of {base.name} gives no map to pool but shape {features.shape[1:]}; give another with --tap, "
            "or keep it as it is with --pool none"
        )
    features = keras.ops.cast(features, "float32")
    if pool == "avg":
        features = keras.layers.GlobalAveragePooling2D(dtype="float32")(features)
    elif pool == "max":
        features = keras.layers.GlobalMaxPooling2D(dtype="float32")(features)
    return features


def preprocess(pixels: Any, preprocessing: Preprocessing) -> Any:
    """Apply the preprocessing that a network expects.

    Parameters
    ----------
    pixels : keras tensor of uint8, shape (n, size, size, 3)
        RGB.
    preprocessing : Preprocessing

    Returns
    -------
    keras tensor of float32, shape (n, size, size, 3)
    """
    keras = load_keras()
    scaled = keras.ops.cast(pixels, "float32")
    if preprocessing.bgr:
        scaled = keras.ops.flip(scaled, axis=-1)
    return keras.layers.Rescaling(
        list(preprocessing.scale), list(preprocessing.offset), dtype="float32"
    )(scaled)


def tap_tensor(base: Base, model: Any, tap: str) -> Any:
    """Find the tensor of a tap in a model of the base.

    Raises
    ------
    BottleneckError
        The tap does not exist (the message names similar ones), or its map is empty.
    """
    tensor = _find_tensor(base, model, tap)
    if 0 in tensor.shape[1:]:
        raise empty_map(base, model.input_shape[1])
    return tensor


def _find_tensor(base: Base, model: Any, tap: str) -> Any:
    if tap == TOP:
        return model.output
    if tap in base.before:
        return model.get_layer(base.before[tap]).input
    names = [layer.name for layer in model.layers]
    if tap in names:
        return model.get_layer(tap).output
    near = difflib.get_close_matches(tap, [*base.taps, *names], n=3)
    guess = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else "."
    raise BottleneckError(
        f"{base.name} has no tap {tap!r}{guess} List them with: bottleneck bases show {base.argument}; "
        "--tap takes one of them, or any other layer by its name in Keras"
    )
