"""A base and a head as one graph, whole or above a cut."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import TOP, Base, find_tap
from bottleneck.bases.network import (
    Pool,
    Precision,
    computing_in,
    pool_map,
    preprocess,
    tap_tensor,
)
from bottleneck.bases.split import find_cuts, split_at
from bottleneck.bases.weights import WeightsSource, build_with_weights, tensor_digest
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.stages import Stage


@dataclass(frozen=True)
class Graph:
    """A base up to the tap of a run's features, and the run's head.

    All models made from it share its weights.

    Attributes
    ----------
    base : Base
    tap : str
    pool : {"avg", "max", "none"}
    body : keras.Model
        From preprocessed pixels to the tap.
    head : keras.Sequential
        From features to logits.
    weights_digest : str
        Digest of the base's tensors before training.
    """

    base: Base
    tap: str
    pool: Pool
    body: Any
    head: Any
    weights_digest: str

    @property
    def taps(self) -> tuple[str, ...]:
        """Taps below the tap of the features where the base can be cut, from the highest down."""
        names = self.base.taps if self.base.taps != (TOP,) else find_cuts(self.body)
        known = [name for name in names if name != self.tap and _is_in(self.base, self.body, name)]
        return tuple(reversed(known))

    def whole(self) -> Any:
        """Make the model to save, from uint8 pixels ``(n, size, size, 3)`` to probabilities."""
        keras = load_keras()
        pixels, prepared = self._pixels()
        softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
        return keras.Model(pixels, softmax(self._logits(self.body(prepared))))

    def from_pixels(self, learning_from: str | None = None) -> Any:
        """Make a model to train, from uint8 pixels ``(n, size, size, 3)`` to logits.

        Parameters
        ----------
        learning_from : str, optional
            Above this cut, batch normalisation uses and learns the statistics of the batches; by default it
            keeps its statistics everywhere.
        """
        keras = load_keras()
        pixels, prepared = self._pixels()
        if learning_from is None:
            return keras.Model(pixels, self._logits(_in_inference(self.body)(prepared)))
        lower, upper = split_at(self.base, self.body, learning_from)
        return keras.Model(pixels, self._logits(upper(_in_inference(lower)(prepared))))

    def above(self, cut: str, *, learning: bool = False) -> Any:
        """Make a model to train, from the activations at a cut to logits.

        Parameters
        ----------
        cut : str
        learning : bool
            Whether batch normalisation uses and learns the statistics of the batches.

        Raises
        ------
        BottleneckError
            The base cannot be cut there.
        """
        keras = load_keras()
        _, upper = split_at(self.base, self.body, cut)
        activations = keras.Input(upper.input_shape[1:], name="activations")
        part = upper if learning else _in_inference(upper)
        return keras.Model(activations, self._logits(part(activations)))

    def _pixels(self) -> tuple[Any, Any]:
        pixels = load_keras().Input(self.body.input_shape[1:], dtype="uint8", name="pixels")
        return pixels, preprocess(pixels, self.base.preprocessing)

    def _logits(self, features: Any) -> Any:
        pooled = pool_map(self.base, self.tap, features, self.pool)
        return load_keras().ops.cast(self.head(pooled), "float32")


def _in_inference(part: Any) -> Any:
    """Wrap a part of a network so that it runs in inference mode even during training.

    Calling it with ``training=False`` is not enough: a functional model passes its own argument to every model
    within it (Keras 3.15). Batch normalisation would then use the statistics of the batch, and frozen layers
    would apply dropout.
    """
    keras = load_keras()

    class InInference(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.part = part

        def call(self, inputs: Any) -> Any:
            return self.part(inputs, training=False)

    return InInference()


@dataclass(frozen=True)
class Unfrozen:
    """The part of a graph that a stage trains.

    Attributes
    ----------
    layers : frozenset of str
        Names of the trained layers of the base; the head is always trained.
    cut : str or None
        The highest tap below these layers; None if there is none and training needs the images.
    trainable, frozen : int
        Number of parameters.
    """

    layers: frozenset[str]
    cut: str | None
    trainable: int
    frozen: int


def build_graph(
    base: Base,
    weights: WeightsSource,
    tap: str,
    pool: Pool,
    image_size: int,
    precision: Precision,
    head: Any,
) -> Graph:
    """Build a base up to a tap and join it with a head.

    Parameters
    ----------
    base : Base
    weights : WeightsSource
    tap : str
    pool : {"avg", "max", "none"}
    image_size : int
        Side of the images, in pixels.
    precision : {"float32", "bfloat16", "float16"}
    head : keras.Sequential
        See `bottleneck.heads.layers.as_layers`.

    Raises
    ------
    BottleneckError
        The weights are missing or do not fit, or the tap does not exist.
    """
    keras = load_keras()
    with computing_in(precision):
        whole = build_with_weights(base, weights, image_size)
    body = keras.Model(whole.input, tap_tensor(base, whole, tap), name=base.name)
    return Graph(base, tap, pool, body, head, tensor_digest(whole))


def unfreeze(graph: Graph, stages: Sequence[Stage]) -> tuple[Unfrozen, ...]:
    """Find the layers that each stage trains.

    Raises
    ------
    BottleneckError
        A tap is unknown or above the run's features, or the base cannot be cut there; it has fewer layers than
        requested; or a stage trains fewer layers than the stage before.
    """
    found: list[Unfrozen] = []
    above = {tap: _layers_above(graph, tap) for tap in graph.taps}
    for stage in stages:
        layers, named = _find_layers(graph, stage, above)
        if found and not layers >= found[-1].layers:
            raise BottleneckError(
                f"stage {stage} trains less of the base than the stage before it; stages go from the top to "
                f"deeper taps, in this order: {', '.join(above)}"
            )
        cut = named or next((tap for tap, those in above.items() if those >= layers), None)
        trained = _parameters(layer for layer in graph.body.layers if layer.name in layers)
        trained += _parameters([graph.head])
        whole = graph.body.count_params() + graph.head.count_params()
        found.append(Unfrozen(layers, cut, trained, whole - trained))
    return tuple(found)


def freeze_but(graph: Graph, layers: frozenset[str]) -> None:
    """Freeze all layers but these layers of the base and the head."""
    graph.body.trainable = True  # False would override its layers
    for layer in graph.body.layers:
        layer.trainable = layer.name in layers
    graph.head.trainable = True


def depths(body: Any) -> dict[str, int]:
    """Return the depth of each layer: the number of layers with kernels from the output down to it, inclusive.

    The longest path to the output counts. The normalisation of a convolution has the same depth as it.
    """
    keras = load_keras()
    above: dict[int, int] = {id(body.output): 0}
    found = {}
    for operation in reversed(body.operations):
        outputs = keras.tree.flatten(keras.Operation.output.fget(operation))
        here = max(above.get(id(tensor), 0) for tensor in outputs)
        weighs = any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
        found[operation.name] = here + 1
        for tensor in keras.tree.flatten(keras.Operation.input.fget(operation)):
            above[id(tensor)] = max(above.get(id(tensor), 0), here + weighs)
    return found


def _find_layers(
    graph: Graph, stage: Stage, above: dict[str, frozenset[str]]
) -> tuple[frozenset[str], str | None]:
    """Find the layers of the base that a stage trains, and its cut if it names one."""
    if isinstance(stage.above, str):
        tap = find_tap(graph.base, stage.above)
        if tap == graph.tap:
            return frozenset(), None
        if tap not in above:
            _refuse_above(graph, tap)
            return _layers_above(graph, tap), tap
        return above[tap], tap
    layers = [layer for layer in graph.body.layers if not _is_input(layer)]
    if stage.above > len(layers):
        raise BottleneckError(
            f"stage {stage} unfreezes {stage.above} layers, but {graph.base.name} has {len(layers)} up to {graph.tap}"
        )
    return frozenset(layer.name for layer in layers[len(layers) - stage.above :]), None


def _layers_above(graph: Graph, tap: str) -> frozenset[str]:
    _, upper = split_at(graph.base, graph.body, tap)
    return frozenset(layer.name for layer in upper.layers if not _is_input(layer))


def _refuse_above(graph: Graph, tap: str) -> None:
    if tap in graph.base.taps and not _is_in(graph.base, graph.body, tap):
        raise BottleneckError(
            f"{tap} lies above {graph.tap}, the tap of the run's features, so there is nothing to unfreeze; give a "
            f"lower one with --stages: {', '.join(graph.taps)}"
        )


def _is_in(base: Base, body: Any, tap: str) -> bool:
    names = {layer.name for layer in body.layers}
    return tap in names or base.before.get(tap) in names


def _is_input(layer: Any) -> bool:
    return isinstance(layer, load_keras().layers.InputLayer)


def _parameters(layers: Iterable[Any]) -> int:
    """Count the parameters with gradients, without the statistics of normalisation."""
    statistics = ("moving_mean", "moving_variance", "mean", "variance", "count")
    return sum(
        int(np.prod(weight.shape))
        for layer in layers
        for weight in layer.weights
        if weight.name not in statistics
    )
