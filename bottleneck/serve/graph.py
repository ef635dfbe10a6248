"""A run as one graph, from pixels to probabilities."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.bases.backbone import find_backbone, load_backbone
from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import build_network
from bottleneck.cache.recipe import Recipe
from bottleneck.errors import BottleneckError
from bottleneck.extraction.request import (
    check_not_quantised,
    check_weights,
    group_recipes,
    request_from_run,
)
from bottleneck.heads.layers import LAYERED, as_layers, has_layers
from bottleneck.heads.registry import find_head
from bottleneck.images.decode import Fit
from bottleneck.runs.run import MODEL, TUNED, Run

# Names of the graph's input and output in every format.
PIXELS, PROBABILITIES = "pixels", "probabilities"


@dataclass(frozen=True)
class Classifier:
    """A graph with the names of its classes.

    Attributes
    ----------
    model : keras.Model
        From uint8 pixels ``(n, size, size, 3)`` to float32 probabilities ``(n, classes)``.
    classes : tuple of str
        In the order of the probabilities.
    fit : {"squash", "crop"}
        Resize mode.
    """

    model: Any
    classes: tuple[str, ...]
    fit: Fit


def build_run_graph(run: Run, folder: Path, weights: str | os.PathLike[str] | None = None) -> Any:
    """Join the bases and the head of a run, or load its fine-tuned network if that is the best.

    The base computes in float32 whatever the run's recipe says, because not every format and machine supports
    half precision. Features are not rounded between base and head, unlike in a cache in half precision.

    Parameters
    ----------
    run : Run
    folder : Path
        The run's folder.
    weights : str or path, optional
        Where the base's weights are now, if they have moved since the run was fitted.

    Returns
    -------
    keras.Model
        From uint8 pixels ``(n, size, size, 3)`` to float32 probabilities ``(n, classes)``.

    Raises
    ------
    BottleneckError
        The head cannot be expressed as layers, the recipes differ in image size or resize mode, or the weights
        are missing or others than those of the run.
    """
    size = shared_input(run).image_size
    if run.best == TUNED:
        return load_backbone(find_backbone(folder / MODEL, "none"), size)
    head = find_head(run.head).load(folder, len(run.classes))
    if not has_layers(head):
        raise BottleneckError(
            f"head {run.head} cannot be part of a graph: expected a network or a linear model; fit another one with: "
            f"bottleneck fit-head {run.cache} --head {'|'.join(LAYERED)}"
        )
    keras = load_keras()
    pixels = keras.Input((size, size, 3), dtype="uint8", name=PIXELS)
    features: dict[Recipe, Any] = {}
    for recipes, weights_path in group_recipes(run.recipes, run.weights_paths):
        check_not_quantised(recipes[0], "a graph is exported in float32")
        wanted = request_from_run(recipes, weights_path, weights)
        network = build_network(
            wanted.base, wanted.weights, wanted.taps, wanted.pool, wanted.image_size
        )
        check_weights(network.weights_digest, recipes[0], wanted.weights)
        outputs = keras.tree.flatten(network.model(pixels, training=False))
        features |= dict(zip(recipes, outputs, strict=True))
    ordered = [features[recipe] for recipe in run.recipes]
    together = keras.layers.Concatenate()(ordered) if len(ordered) > 1 else ordered[0]
    layers: Any = as_layers(head, tuple(together.shape[1:]))
    return keras.Model(pixels, keras.layers.Softmax(name=PROBABILITIES)(layers(together)))


def shared_input(run: Run) -> Recipe:
    """Return a recipe with the image size and resize mode that all recipes of a run share.

    Raises
    ------
    BottleneckError
        The recipes differ in image size or resize mode.
    """
    taken = sorted({(recipe.image_size, recipe.fit) for recipe in run.recipes})
    if len(taken) > 1:
        found = " and ".join(f"{size} pixels, {fit}" for size, fit in taken)
        raise BottleneckError(
            f"one graph needs one image size and one resize mode, and the run's recipes have {found}; fit the head "
            "on recipes that agree: bottleneck extract with one --image-size and one --resize"
        )
    return run.recipes[0]
