"""Bring a cache's features up to a listing: compute what is missing, and only that."""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
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
from bottleneck.extraction.cluster import Cluster, outline
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.dispatch import compute
from bottleneck.extraction.engines.protocol import BuiltBase, Engine
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.plan import Missing, Target, Task, missing_items
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.quantise import with_quantised
from bottleneck.extraction.request import FeatureRequest, check_weights
from bottleneck.extraction.scan import unreadable
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.extraction.worker import Outline
from bottleneck.remote import is_url

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class Filled:
    """What `fill` left.

    Attributes
    ----------
    recipes : tuple of Recipe
        One for each tap.
    listing : Listing
        Without images that are unread, and with those that turned out unusable marked as failed.
    """

    recipes: tuple[Recipe, ...]
    listing: Listing


def compute_missing(
    cache: Path,
    listing: Listing,
    wanted: FeatureRequest,
    settings: Settings,
    tally: ExtractionStatistics,
    progress: Progress,
    *,
    expected: Recipe | None = None,
    cluster: Cluster | None = None,
) -> Filled:
    """Compute the features that images of a listing lack. Only for who holds the writer's lock.

    Images that are unread are read, and decoded only if it is not another's bytes they turn out to have.

    Damaged shards count as missing; their files go when all is ready to compute what they held. Where a recipe
    is `expected`, weights that do not make it are refused before anything is computed. What was done is
    added to the tally as it is done, so that it is right after an interruption too. Where there is a
    `cluster` the base runs there, and is not even built here.

    Raises
    ------
    BottleneckError
        The weights cannot be had, a shard or recipe is of a newer format, or there is no room left.
    """

    def build(taps: tuple[str, ...]) -> BuiltBase:
        step = f"loading {wanted.base.name}"
        progress(step, 0, 0)
        built = (
            wanted.build(taps)
            if cluster is None
            else outline(cluster, wanted, taps, settings, cache)
        )
        progress(step, 1, 1)
        return built

    if wanted.precision == "int8":
        wanted = with_quantised(cache, listing, wanted, settings, progress)
        if cluster is not None:
            send_graphs(cache)
    network, digest = None, wanted.find_digest(readable_recipes(cache))
    if digest is None:
        network = build(wanted.taps)
        digest = network.weights_digest
    if expected is not None:
        check_weights(digest, expected, wanted.weights)
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
    items = missing_items(listing.not_failed, targets)
    lacking = [target for target in targets if _lacks_any(target, items)]

    def prepare() -> BuiltBase:
        """See that all is right before anything is sealed."""
        built = network or build(tuple(dict.fromkeys(target.recipe.tap for target in lacking)))
        check_weights(built.weights_digest, recipes[0], wanted.weights)
        # where workers send what they seal to a URL, nothing of it stays here
        kept_here = cluster is None or not is_url(location_of(cache))
        _refuse_full_disk(cache if kept_here else None, listing, items, lacking, built)
        # the same rows are the same file, under the same name
        _remove(damaged)
        damaged.clear()
        return built

    def start() -> Engine:
        built = prepare()
        engine = _start(wanted, built, settings, progress)
        tally.engine = engine.name
        return engine

    of_all = (items, listing.root, cache, lacking)
    if items and cluster is None:
        _compute(*of_all, start, settings, tally, progress)
    elif items and cluster is not None:
        built = prepare()
        assert isinstance(built, Outline)
        compute(cluster, *of_all, wanted, built, settings, tally, progress)
    _remove(damaged)
    if tally.digests or tally.unreadable or tally.undecodable:
        listing = Listing(listing.root, _as_found(listing.rows, tally))
    return Filled(recipes, listing)


def _lacks_any(target: Target, items: Missing) -> bool:
    return any(target.lacks(item.digest, view) for item in items for view in item.views)


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
    cache: Path | None,
    listing: Listing,
    items: Missing,
    targets: list[Target],
    network: BuiltBase,
) -> None:
    """Compare what features will take with what is free, before hours are spent on them."""
    needed = 0
    for target in targets:
        recipe = target.recipe
        shape = network.feature_shapes[network.taps.index(recipe.tap)]
        each = int(np.prod(shape)) * np.dtype(recipe.dtype).itemsize
        rows = _rows_at_least(target, items, listing)
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
    # some network file systems tell neither
    if disk.total and needed > disk.free:
        raise BottleneckError(
            f"features will take {needed / 1e6:,.1f} MB and {disk.free / 1e6:,.1f} MB are free in {cache}; make room, "
            "give another place with --cache, or make them smaller with --pool avg, --dtype float16 or fewer --views"
        )


def _rows_at_least(target: Target, items: Missing, listing: Listing) -> int:
    """Count the rows that will be kept; of images that are unread, those that cannot all be there already."""
    digests, rows = items.rows.digests, 0
    for view in target.views:
        held = target.held.get(view, Digests.of(()))
        asked = items.lacked[items.views.index(view)]
        rows += int((asked & digests.present & (held.find(digests) < 0)).sum())
        if unread := int((asked & ~digests.present).sum()):
            listed = held.find(listing.rows.digests.distinct()) >= 0
            rows += max(unread - (len(held) - int(listed.sum())), 0)
    return rows


def _compute(
    items: Missing,
    root: str,
    cache: Path,
    targets: list[Target],
    start: Callable[[], Engine],
    settings: Settings,
    tally: ExtractionStatistics,
    progress: Progress,
) -> None:
    through, total = 0, items.total

    def done(views: int) -> None:
        nonlocal through
        through += views
        progress("extracting", through, total)

    progress("extracting", 0, total)
    run_task(
        Task(items),
        root=root,
        features=cache / "features",
        targets=targets,
        start=start,
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


def _start(
    wanted: FeatureRequest, network: BuiltBase, settings: Settings, progress: Progress
) -> Engine:
    step = f"tracing {wanted.base.name}"
    progress(step, 0, 0)
    engine = start_engine(network, settings.engine, settings.batch_size)
    progress(step, 1, 1)
    return engine


def _enter(cache: Path, wanted: FeatureRequest, recipe: Recipe) -> None:
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


def _as_found(rows: Rows, tally: ExtractionStatistics) -> Rows:
    """Write into rows what was found when their images were read."""
    unread = np.flatnonzero(rows.coded["status"].equal_to(UNREAD))
    read = zip(rows.take(unread), tally.digests, strict=True)
    rows = rows.replace(
        unread, (row._replace(digest=digest.hex(), status=OK) for row, digest in read)
    )
    if not tally.unreadable and not tally.undecodable:
        return rows
    usable = np.flatnonzero(rows.coded["status"].equal_to(OK))
    return rows.replace(usable, (_row_as_found(row, tally) for row in rows.take(usable)))


def _row_as_found(row: Row, tally: ExtractionStatistics) -> Row:
    if row.path in tally.unreadable:
        return unreadable(row, tally.unreadable[row.path])
    if row.digest in tally.undecodable:
        return row._replace(status=FAILED, reason=tally.undecodable[row.digest])
    return row
