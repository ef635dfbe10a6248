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

# What goes into the graph and what comes out of it, by these names in every format.
PIXELS, PROBABILITIES = "pixels", "probabilities"


@dataclass(frozen=True)
class Classifier:
    """A graph, and what must be known to use it.

    Attributes
    ----------
    model : keras.Model
        From uint8 pixels ``(n, size, size, 3)`` to float32 probabilities ``(n, classes)``.
    classes : tuple of str
        In the order of the probabilities.
    fit : {"squash", "crop"}
        How a picture becomes a square.
    """

    model: Any
    classes: tuple[str, ...]
    fit: Fit


def graph_of(run: Run, folder: Path, weights: str | os.PathLike[str] | None = None) -> Any:
    """Put the bases of a run and its head together, or load its fine-tuned network where that is better.

    The base computes in single precision whatever the run's recipe says: not every format, nor every
    machine, has another. Nothing is rounded between base and head as a cache in half precision does.

    Parameters
    ----------
    run : Run
    folder : Path
        Where it lies.
    weights : str or path, optional
        Where the base's weights are now, if no longer where they were when the run was fitted.

    Returns
    -------
    keras.Model
        From uint8 pixels ``(n, size, size, 3)`` to float32 probabilities ``(n, classes)``.

    Raises
    ------
    BottleneckError
        The head cannot be layers, the recipes take different pictures, or the weights cannot be had or
        are not those the run was fitted with.
    """
    size = picture_of(run).image_size
    if run.best == TUNED:
        return load_backbone(find_backbone(folder / MODEL, "none"), size)
    head = find_head(run.head).load(folder)
    if not has_layers(head):
        raise BottleneckError(
            f"head {run.head} cannot be part of a graph, for it is neither a network nor linear; fit one that can: "
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


def picture_of(run: Run) -> Recipe:
    """Find a recipe that says what becomes of a picture before it is pixels, for all of a run's.

    Raises
    ------
    BottleneckError
        Its recipes take pictures of different sizes, or cut them otherwise.
    """
    taken = sorted({(recipe.image_size, recipe.fit) for recipe in run.recipes})
    if len(taken) > 1:
        found = " and ".join(f"{size} pixels, {fit}" for size, fit in taken)
        raise BottleneckError(
            f"one graph takes pictures of one size and fit, and the run's recipes take {found}; fit the head on "
            "recipes that agree: bottleneck extract with one --image-size and one --fit"
        )
    return run.recipes[0]
