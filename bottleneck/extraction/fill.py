"""Bring a cache's features up to a listing: compute what is missing, and only that."""

import logging
from dataclasses import dataclass
from pathlib import Path

from bottleneck.bases.network import Network
from bottleneck.cache.listing import FAILED, Listing, Row
from bottleneck.cache.recipe import (
    DamagedRecipeError,
    Recipe,
    RecipeFile,
    read_recipe,
    write_recipe,
)
from bottleneck.cache.shard import DamagedShardError, read_shard, shard_paths
from bottleneck.extraction.conveyor import Settings, Tally, rows_per_task, run_task
from bottleneck.extraction.engine import Wanted, refuse_other_weights
from bottleneck.extraction.plan import Item, missing_items, plan_tasks
from bottleneck.extraction.progress import Progress

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class Filled:
    """What `fill` left.

    Attributes
    ----------
    recipe : Recipe
    listing : Listing
        With the images that turned out unusable marked as failed.
    """

    recipe: Recipe
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
) -> Filled:
    """Compute the features that usable images of a listing lack. Only for who holds the writer's lock.

    Damaged shards count as missing; their files go when what they held is there again. Where a recipe
    is `expected`, weights that do not make it are refused before anything is computed. What was done is
    added to the tally as it is done, so that it is right after an interruption too.

    Raises
    ------
    BottleneckError
        The weights cannot be had, a shard or recipe is of a newer format, or there is no room left.
    """
    network, entry = None, wanted.recognise(readable_recipes(cache))
    if entry is None:
        network = _build(wanted, progress)
        if expected is not None:
            refuse_other_weights(network.weights_digest, expected, wanted.weights)
        entry = _enter(cache, wanted, network)
    elif expected is not None:
        refuse_other_weights(entry.recipe.weights_digest, expected, wanted.weights)
    recipe = entry.recipe
    if recipe.random:
        _log.warning(
            "These weights are RANDOM (%s): good for trying things out, not for results.",
            recipe.weights,
        )
    folder = cache / "features" / recipe.id
    held, damaged = survey(folder)
    items = missing_items(listing.ok, held)
    if items:
        if network is None:
            network = _build(wanted, progress)
            refuse_other_weights(network.weights_digest, recipe, wanted.weights)
        _compute(items, listing.root, folder, recipe, network, settings, tally, progress)
    for shard in damaged:
        shard.unlink(missing_ok=True)
    rows = tuple(_with_failure(row, tally) for row in listing.rows)
    return Filled(recipe, Listing(listing.root, rows))


def _compute(
    items: list[Item],
    root: Path,
    folder: Path,
    recipe: Recipe,
    network: Network,
    settings: Settings,
    tally: Tally,
    progress: Progress,
) -> None:
    through = 0

    def done(images: int) -> None:
        nonlocal through
        through += images
        progress("extracting", through, len(items))

    progress("extracting", 0, len(items))
    for task in plan_tasks(items, rows_per_task(network.feature_shape, settings.batch_size)):
        run_task(
            task,
            root=root,
            folder=folder,
            recipe=recipe,
            engine=network,
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
    for folder in sorted((cache / "features").glob("*/")):
        try:
            entries.append(read_recipe(folder))
        except DamagedRecipeError as error:
            _log.warning("%s", error)
    return tuple(entries)


def survey(folder: Path) -> tuple[set[str], list[Path]]:
    """Check a recipe's shards: the digests there are features for, and the shards that are damaged."""
    held: set[str] = set()
    damaged = []
    for path in shard_paths(folder):
        try:
            shard = read_shard(path)
        except DamagedShardError as error:
            _log.warning("%s", error)
            damaged.append(path)
            continue
        held.update(d for d, view in zip(shard.digests, shard.views, strict=True) if view == 0)
    return held, damaged


def _build(wanted: Wanted, progress: Progress) -> Network:
    step = f"loading {wanted.base.name}"
    progress(step, 0, 0)
    network = wanted.build()
    progress(step, 1, 1)
    return network


def _enter(cache: Path, wanted: Wanted, network: Network) -> RecipeFile:
    """Write down the recipe, or that one more source of weights belongs to it."""
    recipe = wanted.recipe(network.weights_digest)
    folder = cache / "features" / recipe.id
    folder.mkdir(parents=True, exist_ok=True)
    try:
        known = read_recipe(folder)
        recipe, fingerprints = known.recipe, known.fingerprints
    except DamagedRecipeError:
        fingerprints = ()
    entry = RecipeFile(recipe, wanted.weights.name, (*fingerprints, wanted.weights.fingerprint))
    write_recipe(folder, entry)
    return entry


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
