"""Compute the features that a cache is missing, and only those."""

import dataclasses
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.cache.digests import Digests
from bottleneck.cache.listing import Listing
from bottleneck.cache.location import location_of
from bottleneck.cache.mirror import forget, send_graphs
from bottleneck.cache.recipe import (
    DamagedRecipeError,
    Recipe,
    RecipeFile,
    read_recipe,
    recipe_folders,
    write_recipe,
)
from bottleneck.cache.rows import FAILED, OK, UNREAD, Row, Rows
from bottleneck.cache.survey import survey
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.protocol import BuiltBase
from bottleneck.extraction.execution import Execution, Work, choose_executor
from bottleneck.extraction.plan import Missing, Target, missing_items
from bottleneck.extraction.quantise import with_quantised
from bottleneck.extraction.request import FeatureRequest, check_weights
from bottleneck.extraction.scan import unreadable
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.remote import is_url

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class CachedFeatures:
    """Features that are in a cache now.

    Attributes
    ----------
    recipes : tuple of Recipe
        One for each tap.
    listing : Listing
        The images: none is unread, and those that turned out unusable are marked as failed.
    """

    recipes: tuple[Recipe, ...]
    listing: Listing


def compute_missing(
    cache: Path,
    listing: Listing,
    request: FeatureRequest,
    execution: Execution,
    *,
    expected: Recipe | None = None,
) -> CachedFeatures:
    """Compute the features that images of a listing are missing. The caller holds the writer's lock.

    Unread images are read; they are decoded only if no image with the same bytes has features already.
    Damaged shards count as missing; their files are removed when everything is ready to compute them again.

    Parameters
    ----------
    cache : Path
    listing : Listing
    request : FeatureRequest
    execution : Execution
        If it has a cluster, the workers build the base and this process does not.
    expected : Recipe, optional
        Weights that do not belong to this recipe are an error before anything is computed.

    Raises
    ------
    BottleneckError
        The weights are not available, a shard or recipe has a newer format, or the disk is full.
    """
    if request.precision == "int8":
        request = with_quantised(cache, listing, request, execution.settings, execution.progress)
        if execution.cluster is not None:
            send_graphs(cache)
    executor = choose_executor(execution, request, cache)
    digest = request.find_digest(readable_recipes(cache))
    if digest is None:
        digest = executor.build(request.taps).weights_digest
    if expected is not None:
        check_weights(digest, expected, request.weights)
    recipes = request.recipes(digest)
    if recipes[0].random:
        _log.warning(
            "These weights are RANDOM (%s): good for trying things out, not for results.",
            recipes[0].weights,
        )
    for recipe in recipes:
        _record_recipe(cache, request, recipe)
    targets, damaged = find_targets(cache, recipes, request.views)
    for message in damaged.values():
        _log.warning("%s", message)
    images = missing_items(listing.not_failed, targets)
    incomplete = [target for target in targets if _misses_any(target, images)]

    def check(built: BuiltBase) -> None:
        check_weights(built.weights_digest, recipes[0], request.weights)
        # workers send what they compute to a cache behind a URL; nothing of it is stored here
        stored_here = execution.cluster is None or not is_url(location_of(cache))
        _check_disk(cache if stored_here else None, listing, images, incomplete, built)
        # the same rows are the same file, under the same name
        _remove(damaged)
        damaged.clear()

    if images:
        executor.run(Work(cache, listing.root, images, incomplete), check)
    _remove(damaged)
    statistics = execution.statistics
    if statistics.digests or statistics.unreadable or statistics.undecodable:
        listing = Listing(listing.root, _with_results(listing.rows, statistics))
    return CachedFeatures(recipes, listing)


def _misses_any(target: Target, images: Missing) -> bool:
    return any(target.is_missing(item.digest, view) for item in images for view in item.views)


def find_targets(
    cache: Path, recipes: Sequence[Recipe], views: int
) -> tuple[list[Target], dict[Path, str]]:
    """Return what a cache holds of some recipes, and which shards are damaged and why.

    Parameters
    ----------
    cache : Path
    recipes : sequence of Recipe
    views : int
        Views of each image besides the plain one, which has a recipe of its own.
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


def _check_disk(
    cache: Path | None,
    listing: Listing,
    images: Missing,
    targets: list[Target],
    built: BuiltBase,
) -> None:
    """Check that the features fit on the disk, before hours are spent on them."""
    needed = 0
    for target in targets:
        recipe = target.recipe
        shape = built.feature_shapes[built.taps.index(recipe.tap)]
        each = int(np.prod(shape)) * np.dtype(recipe.dtype).itemsize
        rows = _rows_at_least(target, images, listing)
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
    if cache is None:
        return
    disk = shutil.disk_usage(cache)
    # some network file systems report neither
    if disk.total and needed > disk.free:
        raise BottleneckError(
            f"features will take {needed / 1e6:,.1f} MB and {disk.free / 1e6:,.1f} MB are free in {cache}; make room, "
            "give another place with --cache, or make them smaller with --pool avg, --dtype float16 or fewer --views"
        )


def _rows_at_least(target: Target, images: Missing, listing: Listing) -> int:
    """Count the rows that will be stored; of unread images, those that cannot all be cached already."""
    digests, rows = images.rows.digests, 0
    for view in target.views:
        held = target.cached.get(view, Digests.of(()))
        asked = images.missing[images.views.index(view)]
        rows += int((asked & digests.present & (held.find(digests) < 0)).sum())
        if unread := int((asked & ~digests.present).sum()):
            listed = held.find(listing.rows.digests.distinct()) >= 0
            rows += max(unread - (len(held) - int(listed.sum())), 0)
    return rows


def readable_recipes(cache: Path) -> tuple[RecipeFile, ...]:
    """Read the recipes of a cache, except damaged ones.

    Raises
    ------
    BottleneckError
        A recipe has a newer format.
    """
    entries = []
    for folder in recipe_folders(cache):
        try:
            entries.append(read_recipe(folder))
        except DamagedRecipeError as error:
            _log.warning("%s", error)
    return tuple(entries)


def _record_recipe(cache: Path, request: FeatureRequest, recipe: Recipe) -> None:
    """Write a recipe's file, or add weights and views to it."""
    source = request.weights
    for own in dict.fromkeys((recipe.of_view(0), recipe)):
        folder = cache / "features" / own.id
        folder.mkdir(parents=True, exist_ok=True)
        fingerprints, views = (source.fingerprint,), own.kept(request.views).stop - 1
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


def _with_results(rows: Rows, statistics: ExtractionStatistics) -> Rows:
    """Update rows with what was found when their images were read."""
    unread = np.flatnonzero(rows.coded["status"].equal_to(UNREAD))
    read = zip(rows.take(unread), statistics.digests, strict=True)
    rows = rows.replace(
        unread, (row._replace(digest=digest.hex(), status=OK) for row, digest in read)
    )
    if not statistics.unreadable and not statistics.undecodable:
        return rows
    usable = np.flatnonzero(rows.coded["status"].equal_to(OK))
    return rows.replace(usable, (_row_with_results(row, statistics) for row in rows.take(usable)))


def _row_with_results(row: Row, statistics: ExtractionStatistics) -> Row:
    if row.path in statistics.unreadable:
        return unreadable(row, statistics.unreadable[row.path])
    if row.digest in statistics.undecodable:
        return row._replace(status=FAILED, reason=statistics.undecodable[row.digest])
    return row
