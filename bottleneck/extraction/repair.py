"""`bottleneck cache repair`: compute damaged and missing features again."""

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.listing import write_listing
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.mirror import fetch_shards
from bottleneck.cache.recipe import (
    DamagedRecipeError,
    RecipeFile,
    read_recipe,
    weights_path,
    write_recipe,
)
from bottleneck.cache.shard import DamagedShardError, read_shard, shard_paths
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.survey import survey
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.ensure import RecordedFeatures, ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.plan import Target, missing_items
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.extraction.request import request_from_recipes

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class Repaired:
    """The result of a repair.

    Attributes
    ----------
    computed : dict of str to int
        Images computed again, by recipe; each view of them counts.
    failed : int
        Images that cannot be computed again: their files are gone or have changed.
    """

    computed: dict[str, int]
    failed: int


def repair(
    cache: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Repaired:
    """Compute the features of damaged shards again, and any others that listed images are missing.

    Parameters
    ----------
    cache : path
        The cache's folder or URL. Its images are read where its listing says they are.
    weights : str or path, optional
        Where the base's weights are now, if they were moved. Other weights are an error.
    progress : callable
        Called with the step's name, how many are done, and how many there are.

    Raises
    ------
    BottleneckError
        The listing is damaged, or the weights are not available.
    """
    store = FeatureCache(cache)
    computed = {}
    with writer_lock(store.path):
        listing = store.listing
        failed = len(listing.failed)
        for folder in store.folders:
            entry = _recipe(folder)
            fetch_shards(folder)
            found = survey(folder)
            target = Target(entry.recipe, entry.kept, found.held)
            if not found.damaged and not missing_items(listing.ok, [target]):
                computed[entry.recipe.id] = 0
                continue
            path = entry.weights_path if weights is None else weights
            request = functools.partial(request_from_recipes, [entry.recipe], path, entry.views)
            execution = Execution(Settings(), progress)
            listing = ensure_features(
                store.path,
                listing,
                RecordedFeatures((entry.recipe,), entry.views, request),
                execution,
                damaged="remove",
                locked=True,
            ).listing
            computed[entry.recipe.id] = execution.statistics.computed
        for row in listing.failed[failed:]:
            _log.warning("Could not compute %r again: %s", row.path, row.reason)
        write_listing(store.path, listing)
    return Repaired(computed, len(listing.failed) - failed)


def _recipe(folder: Path) -> RecipeFile:
    """Read a recipe's file or, if that is damaged, the copy in one of its shards."""
    try:
        return read_recipe(folder)
    except DamagedRecipeError:
        for path in shard_paths(folder):
            try:
                recipe = read_shard(path).recipe
            except DamagedShardError:
                continue
            entry = RecipeFile(recipe, weights_path(folder, recipe) or recipe.weights, ())
            write_recipe(folder, entry)
            return entry
        raise BottleneckError(
            f"neither the recipe nor any shard in {folder} can be read; "
            "remove the folder and run `bottleneck extract` again"
        ) from None
