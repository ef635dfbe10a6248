"""Bring a cache's features up to a listing: compute what is missing, and only that."""

import dataclasses
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.bases.network import Network
from bottleneck.cache.listing import Listing
from bottleneck.cache.mirror import forget
from bottleneck.cache.recipe import (
    DamagedRecipeError,
    Recipe,
    RecipeFile,
    read_recipe,
    recipe_folders,
    write_recipe,
)
from bottleneck.cache.rows import FAILED, Row
from bottleneck.cache.survey import survey
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import Cluster, compute, outline
from bottleneck.extraction.conveyor import Settings, rows_per_task, run_task
from bottleneck.extraction.engine import Engine, Wanted, refuse_other_weights, start_engine
from bottleneck.extraction.plan import Item, Target, missing_items, plan_tasks
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.tally import Tally
from bottleneck.extraction.worker import Outline

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class Filled:
    """What `fill` left.

    Attributes
    ----------
    recipes : tuple of Recipe
        One for each tap.
    listing : Listing
        With the images that turned out unusable marked as failed.
    """

    recipes: tuple[Recipe, ...]
    listing: Listing


def fill(
    cache: Path,
    listing: Listing,
    wanted: Wanted,
    settings: Settings,
    tally: Tally,
    progress: Progress,
    *,
    expected: Recipe | None = None,
    cluster: Cluster | None = None,
) -> Filled:
    """Compute the features that usable images of a listing lack. Only for who holds the writer's lock.

    Damaged shards count as missing; their files go when all is ready to compute what they held. Where a recipe
    is `expected`, weights that do not make it are refused before anything is computed. What was done is
    added to the tally as it is done, so that it is right after an interruption too. Where there is a
    `cluster` the base runs there, and is not even built here.

    Raises
    ------
    BottleneckError
        The weights cannot be had, a shard or recipe is of a newer format, or there is no room left.
    """

    def build(taps: tuple[str, ...]) -> Network | Outline:
        step = f"loading {wanted.base.name}"
        progress(step, 0, 0)
        built = wanted.build(taps) if cluster is None else outline(cluster, wanted, taps, settings)
        progress(step, 1, 1)
        return built

    network, digest = None, wanted.recognise(readable_recipes(cache))
    if digest is None:
        network = build(wanted.taps)
        digest = network.weights_digest
    if expected is not None:
        refuse_other_weights(digest, expected, wanted.weights)
    recipes = wanted.recipes(digest)
    if recipes[0].random:
        _log.warning(
            "These weights are RANDOM (%s): good for trying things out, not for results.",
            recipes[0].weights,
        )
    for recipe in recipes:
        _enter(cache, wanted, recipe)
    targets, damaged = find_targets(cache, recipes, wanted.views)
    for message in damaged.values():
        _log.warning("%s", message)
    usable = listing.ok
    items = missing_items(usable, targets)
    if items:
        lacking = [target for target in targets if missing_items(usable, [target])]
        taps = tuple(dict.fromkeys(target.recipe.tap for target in lacking))
        if network is None:
            network = build(taps)
            refuse_other_weights(network.weights_digest, recipes[0], wanted.weights)
        _refuse_full_disk(cache, items, lacking, network)
        # before anything is sealed: the same rows are the same file, under the same name
        _remove(damaged)
        of_all = (items, listing.root, cache, lacking)
        if isinstance(network, Network):
            engine = _start(wanted, network, settings, progress)
            tally.engine = engine.name
            _compute(*of_all, engine, settings, tally, progress)
        elif cluster is not None:
            compute(cluster, *of_all, wanted, network, settings, tally, progress)
    else:
        _remove(damaged)
    if tally.unreadable or tally.undecodable:
        rows = tuple(_with_failure(row, tally) for row in listing.rows)
        listing = Listing(listing.root, rows)
    return Filled(recipes, listing)


def find_targets(
    cache: Path, recipes: Sequence[Recipe], views: int
) -> tuple[list[Target], dict[Path, str]]:
    """Tell what a cache holds of what is wanted, and which shards are damaged and why.

    Parameters
    ----------
    cache : Path
    recipes : sequence of Recipe
    views : int
        Views of each image that are wanted besides the plain one, which has a recipe of its own.
    """
    targets = []
    damaged: dict[Path, str] = {}
    for recipe in recipes:
        for own in dict.fromkeys((recipe.of_view(0), recipe.of_view(views))):
            found = survey(cache / "features" / own.id)
            damaged |= found.damaged
            targets.append(Target(own, own.kept(views), found.held))
    return targets, damaged


def _remove(damaged: Iterable[Path]) -> None:
    for shard in damaged:
        forget(shard)


def _refuse_full_disk(
    cache: Path, items: list[Item], targets: list[Target], network: Network | Outline
) -> None:
    """Compare what features will take with what is free, before hours are spent on them."""
    needed = 0
    for target in targets:
        recipe = target.recipe
        shape = network.feature_shapes[network.taps.index(recipe.tap)]
        each = int(np.prod(shape)) * np.dtype(recipe.dtype).itemsize
        rows = sum(target.lacks(item.digest, view) for item in items for view in item.views)
        needed += rows * each
        if len(shape) > 1:
            _log.info(
                "%s keeps maps of %s in %s: %s bytes an image, %.1f MB in all.",
                recipe.id,
                "×".join(map(str, shape)),
                recipe.dtype,
                f"{each:,}",
                rows * each / 1e6,
            )
    disk = shutil.disk_usage(cache)
    # some network file systems tell neither
    if disk.total and needed > disk.free:
        raise BottleneckError(
            f"features will take {needed / 1e6:,.1f} MB and {disk.free / 1e6:,.1f} MB are free in {cache}; make room, "
            "give another place with --cache, or make them smaller with --pool avg, --dtype float16 or fewer --views"
        )


def _compute(
    items: list[Item],
    root: str,
    cache: Path,
    targets: list[Target],
    engine: Engine,
    settings: Settings,
    tally: Tally,
    progress: Progress,
) -> None:
    through, total = 0, sum(len(item.views) for item in items)

    def done(views: int) -> None:
        nonlocal through
        through += views
        progress("extracting", through, total)

    progress("extracting", 0, total)
    numbers = sum(int(np.prod(shape)) for shape in engine.feature_shapes)
    row = numbers * np.dtype(targets[0].recipe.dtype).itemsize
    for task in plan_tasks(items, rows_per_task(row, settings.batch_size)):
        run_task(
            task,
            root=root,
            features=cache / "features",
            targets=targets,
            engine=engine,
            settings=settings,
            tally=tally,
            done=done,
        )


def readable_recipes(cache: Path) -> tuple[RecipeFile, ...]:
    """Read the recipes of a cache, without those that are damaged.

    Raises
    ------
    BottleneckError
        One is of a newer format.
    """
    entries = []
    for folder in recipe_folders(cache):
        try:
            entries.append(read_recipe(folder))
        except DamagedRecipeError as error:
            _log.warning("%s", error)
    return tuple(entries)


def _start(wanted: Wanted, network: Network, settings: Settings, progress: Progress) -> Engine:
    step = f"tracing {wanted.base.name}"
    progress(step, 0, 0)
    engine = start_engine(network, settings.engine, settings.batch_size)
    progress(step, 1, 1)
    return engine


def _enter(cache: Path, wanted: Wanted, recipe: Recipe) -> None:
    """Write down a recipe, or that more weights or views belong to it."""
    source = wanted.weights
    for own in dict.fromkeys((recipe.of_view(0), recipe)):
        folder = cache / "features" / own.id
        folder.mkdir(parents=True, exist_ok=True)
        fingerprints, views = (source.fingerprint,), own.kept(wanted.views).stop - 1
        entry = RecipeFile(own, source.name, fingerprints, views)
        try:
            known = read_recipe(folder)
        except DamagedRecipeError:
            write_recipe(folder, entry)
            continue
        more = dataclasses.replace(
            entry,
            recipe=known.recipe,
            fingerprints=tuple(dict.fromkeys(known.fingerprints + fingerprints)),
            views=max(views, known.views),
        )
        if (more.fingerprints, more.views) != (known.fingerprints, known.views):
            write_recipe(folder, more)


def _with_failure(row: Row, tally: Tally) -> Row:
    if row.status == FAILED:
        return row
    if row.path in tally.unreadable:
        # nothing is known of its bytes now: without a digest they are read again next time
        return row._replace(
            digest="", status=FAILED, reason=tally.unreadable[row.path], size=-1, mtime_ns=-1
        )
    if row.digest in tally.undecodable:
        return row._replace(status=FAILED, reason=tally.undecodable[row.digest])
    return row
