"""Load a run, its cache and its base, and join base and head into one graph."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.features import locate
from bottleneck.cache.listing import Listing
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.request import (
    FeatureRequest,
    check_not_quantised,
    check_weights,
    request_from_run,
)
from bottleneck.finetuning.graph import Graph, Unfrozen, build_graph, unfreeze
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import Stage, auto_stages
from bottleneck.finetuning.start import load_start_head
from bottleneck.heads.contract import Head
from bottleneck.heads.record import digest_data
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.run import Run, read_run, run_folder


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to be fine-tuned.

    Attributes
    ----------
    source : Path
        The run's folder.
    run : Run
    recipe : Recipe
        Recipe of its features, in the plain view.
    cache : Path
    listing : Listing
    split : Split
    wanted : FeatureRequest
        Base, weights and image size.
    head : Head
        The head of the graph before training: the run's own, or a replacement.
    started_from : str
        The kind of that head.
    graph : Graph
    stages : tuple of Stage
    unfrozen : tuple of Unfrozen
        What each stage trains.
    settings : Settings
    """

    source: Path
    run: Run
    recipe: Recipe
    cache: Path
    listing: Listing
    split: Split
    wanted: FeatureRequest
    head: Head
    started_from: str
    graph: Graph
    stages: tuple[Stage, ...]
    unfrozen: tuple[Unfrozen, ...]
    settings: Settings


def prepare_run(
    source: str | os.PathLike[str],
    stages: Sequence[Stage] | None,
    settings: Settings,
    cache: str | os.PathLike[str] | None,
    weights: str | os.PathLike[str] | None,
    progress: Progress,
) -> PreparedRun:
    """Load a run and its cache, and join base and head.

    Parameters
    ----------
    source : path
        The run's folder.
    stages : sequence of Stage, optional
        By default those of `bottleneck.finetuning.stages.auto_stages`.
    settings : Settings
    cache : path, optional
        Where the run's cache is now.
    weights : str or path, optional
        Where the base's weights are now.
    progress : Progress

    Raises
    ------
    BottleneckError
        The run, its cache or its weights are missing or have changed, or a stage names an unknown tap.
    """
    folder = run_folder(source)
    run = read_run(folder)
    if run.tuning is not None:
        raise BottleneckError(
            f"{folder} is already fine-tuned; give all stages at once for the run it came from: {run.tuning.source}"
        )
    if len(run.recipes) > 1:
        raise BottleneckError(
            f"{folder} uses the features of {len(run.recipes)} recipes, and fine-tuning supports one; fit a head on "
            "one of them with: bottleneck fit-head --recipe ID"
        )
    recipe = run.recipes[0].of_view(0)
    check_not_quantised(recipe, "fine-tuning trains float32 weights")
    store, listing, split = _load_data(folder, run, cache)
    features = locate(store.path, [recipe], split.rows, run.classes)
    start = load_start_head(folder, run, features, split, settings)
    wanted = request_from_run([recipe], run.weights_paths[0], weights)
    if wanted.base.file is not None and settings.precision != "float32":
        raise BottleneckError(
            f"{wanted.base.file} has the precision of its saved layers; leave --precision out"
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
        start.layers,
    )
    progress(step, 1, 1)
    check_weights(graph.weights_digest, recipe, wanted.weights)
    chosen = auto_stages(graph.taps) if stages is None else tuple(stages)
    return PreparedRun(
        source=folder,
        run=run,
        recipe=recipe,
        cache=store.path,
        listing=listing,
        split=split,
        wanted=wanted,
        head=start.head,
        started_from=start.kind,
        graph=graph,
        stages=chosen,
        unfrozen=unfreeze(graph, chosen),
        settings=settings,
    )


def _load_data(
    folder: Path, run: Run, cache: str | os.PathLike[str] | None
) -> tuple[FeatureCache, Listing, Split]:
    try:
        store = FeatureCache(run.cache if cache is None else cache)
    except BottleneckError as error:
        raise BottleneckError(
            f"the cache of {folder} is not at {run.cache if cache is None else cache}; give its location with --cache, "
            "or create it again with bottleneck extract"
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
            f"the images, labels or splits in {store.name} have changed since {folder} was fitted, so images it was "
            "fitted on may be in the validation split now; fit the head again with: bottleneck fit-head"
        )
    return store, listing, split
