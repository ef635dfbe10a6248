"""All that must be right before anything is trained."""

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import Precision
from bottleneck.cache.features import Located, locate
from bottleneck.cache.listing import Listing
from bottleneck.cache.location import name_of
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engine import (
    Wanted,
    choose_known,
    refuse_other_weights,
    refuse_quantised,
)
from bottleneck.extraction.progress import Progress
from bottleneck.finetuning.feed import Material
from bottleneck.finetuning.graph import Graph, Unfrozen, build_graph, unfreeze
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import Stage, auto_stages
from bottleneck.finetuning.train import predict
from bottleneck.heads.fit import digest_data, read_samples
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.registry import Head, complete_params, find_head
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.metrics import Metrics, measure
from bottleneck.runs.run import Run, read_run, run_folder

_log = logging.getLogger("bottleneck")

# What is fitted where the run's head cannot be part of a graph.
STAND_IN = "softmax"

# How far probabilities may be off. In single precision they agree within 1e-5; halves have 11 binary digits, of
# which a few are lost on the way through a network.
_TOLERANCE = {"single": 1e-3, "half": 0.1}


@dataclass(frozen=True)
class Prepared:
    """A run that can be fine-tuned, and all it is made of.

    Attributes
    ----------
    source : Path
        The run's folder.
    run : Run
    recipe : Recipe
        Of its features, in the plain view.
    cache : Path
    listing : Listing
    split : Split
    wanted : Wanted
        Its base, weights and size.
    head : Head
        What the graph starts with: the run's own head, or one that stands in for it.
    started_from : str
        Its kind.
    graph : Graph
    precision : {"float32", "bfloat16", "float16"}
        What it computes in.
    stages : tuple of Stage
    unfrozen : tuple of Unfrozen
        What each stage trains.
    """

    source: Path
    run: Run
    recipe: Recipe
    cache: Path
    listing: Listing
    split: Split
    wanted: Wanted
    head: Head
    started_from: str
    graph: Graph
    precision: Precision
    stages: tuple[Stage, ...]
    unfrozen: tuple[Unfrozen, ...]


def prepare(
    source: str | os.PathLike[str],
    stages: Sequence[Stage] | None,
    settings: Settings,
    cache: str | os.PathLike[str] | None,
    weights: str | os.PathLike[str] | None,
    progress: Progress,
) -> Prepared:
    """Read a run and its cache, and put base and head together.

    Parameters
    ----------
    source : path
        The run's folder.
    stages : sequence of Stage, optional
        By default they are made, see `bottleneck.finetuning.stages.auto_stages`.
    settings : Settings
    cache : path, optional
        Where the run's cache is now.
    weights : str or path, optional
        Where the base's weights are now.
    progress : Progress

    Raises
    ------
    BottleneckError
        The run, its cache or its weights are not to be had or are others, or there is no such stage.
    """
    folder = run_folder(source)
    run = read_run(folder)
    if run.tuning is not None:
        raise BottleneckError(
            f"{folder} is fine-tuned already; give all stages at once for the run it came from: {run.tuning.source}"
        )
    if len(run.recipes) > 1:
        raise BottleneckError(
            f"{folder} takes the features of {len(run.recipes)} recipes side by side, and fine-tuning takes those of "
            "one; fit a head on one of them with: bottleneck fit-head --recipe ID"
        )
    recipe = run.recipes[0].of_view(0)
    refuse_quantised(recipe, "fine-tuning trains float32 weights")
    store, listing, split = _find_data(folder, run, cache)
    features = locate(store.path, [recipe], split.rows, run.classes)
    own = find_head(run.head).load(folder)
    head, layers = _find_layers(run, own, features, split)
    if settings.dropout is not None:
        layers = _with_dropout(layers, settings)
    wanted = choose_known([recipe], run.weights_paths[0], weights)
    if wanted.base.file is not None and settings.precision != "float32":
        raise BottleneckError(
            f"{wanted.base.file} computes in what its layers were saved with; leave --precision out"
        )
    step = f"loading {wanted.base.name}"
    progress(step, 0, 0)
    graph = build_graph(
        wanted.base,
        wanted.weights,
        recipe.tap,
        recipe.pool,
        recipe.image_size,
        settings.precision,
        layers,
    )
    progress(step, 1, 1)
    refuse_other_weights(graph.weights_digest, recipe, wanted.weights)
    chosen = auto_stages(graph.taps) if stages is None else tuple(stages)
    return Prepared(
        source=folder,
        run=run,
        recipe=recipe,
        cache=store.path,
        listing=listing,
        split=split,
        wanted=wanted,
        head=head,
        started_from=run.head if head is own else STAND_IN,
        graph=graph,
        precision=settings.precision,
        stages=chosen,
        unfrozen=unfreeze(graph, chosen),
    )


def prove_assembled(prepared: Prepared, model: Any, material: Material, batch_size: int) -> Metrics:
    """Prove that the assembled graph gives what the head says of the cached features.

    Parameters
    ----------
    prepared : Prepared
    model : keras.Model
        From what the feed gives to values.
    material : Material
    batch_size : int

    Returns
    -------
    Metrics
        Of the graph on the validation split, before anything is trained.

    Raises
    ------
    BottleneckError
        It does not.
    """
    numbers = material.numbers("val")
    rows = [prepared.split.rows[number] for number in numbers]
    features = locate(prepared.cache, [prepared.recipe], rows, prepared.run.classes)
    expected = mean_probabilities(prepared.head, [features], material.classes)
    found = predict(model, material, numbers, batch_size)
    off = float(np.abs(found - expected).max())
    halves = material.cut is not None or "float16" in prepared.recipe.dtype
    halves = halves or {prepared.precision, prepared.recipe.precision} != {"float32"}
    allowed = _TOLERANCE["half" if halves else "single"]
    if not off <= allowed:
        raise BottleneckError(
            f"the assembled graph does not give the predictions of {prepared.source}: on {len(rows)} images they are "
            f"up to {off:.2g} apart, and {allowed:g} is allowed; nothing was trained. Check the cache with: bottleneck "
            f"cache verify {name_of(prepared.cache)}; and fit the head again with: bottleneck fit-head"
        )
    _log.info(
        "The assembled graph gives the head's predictions: on %d images they differ by %.1e at most.",
        *(len(rows), off),
    )
    return measure(material.y[numbers], found)


def _find_data(
    folder: Path, run: Run, cache: str | os.PathLike[str] | None
) -> tuple[FeatureCache, Listing, Split]:
    try:
        store = FeatureCache(run.cache if cache is None else cache)
    except BottleneckError as error:
        raise BottleneckError(
            f"the cache that {folder} was fitted on is not at {run.cache if cache is None else cache}; say where it is "
            "now with --cache, or make it again with bottleneck extract"
        ) from error
    listing = store.listing
    split = split_rows(listing.ok, run.seed)
    if split.classes != run.classes:
        raise BottleneckError(
            f"{store.name} has the classes {', '.join(split.classes)}, and {folder} was fitted on "
            f"{', '.join(run.classes)}; fit the head again with: bottleneck fit-head"
        )
    if digest_data(split.rows) != run.data_digest:
        raise BottleneckError(
            f"the images, labels or splits in {store.name} have changed since {folder} was fitted, so what it learnt "
            "from may be in the validation split now; fit the head again with: bottleneck fit-head"
        )
    return store, listing, split


def _find_layers(run: Run, own: Head, features: Located, split: Split) -> tuple[Head, Any]:
    # imported here: it brings scikit-learn, and to ask for help does not take that
    from bottleneck.heads.layers import as_layers

    layers = as_layers(own, features.shape)
    if layers is not None:
        return own, layers
    _log.warning(
        "Head %s cannot be part of a network (linear and Keras heads can): a fresh dense layer (%s) is fitted on the "
        "same features, and fine-tuning starts from that.",
        run.head,
        STAND_IN,
    )
    kind = find_head(STAND_IN)
    with (
        tempfile.TemporaryDirectory(prefix="bottleneck-") as place,
        read_samples(kind, [features], split, None, Path(place)) as (train, val),
    ):
        head = kind.fit(train, val, len(run.classes), run.seed, complete_params(kind, {}))
    return head, as_layers(head, features.shape)


def _with_dropout(layers: Any, settings: Settings) -> Any:
    """Leave out a share of what the last layer takes in, in place of the dropout there is."""
    keras = load_keras()
    *others, last = [
        layer for layer in layers.layers if not isinstance(layer, keras.layers.Dropout)
    ]
    dropout = keras.layers.Dropout(settings.dropout, seed=settings.seed)
    return keras.Sequential(
        [keras.Input(layers.input_shape[1:]), *others, dropout, last], name=layers.name
    )
