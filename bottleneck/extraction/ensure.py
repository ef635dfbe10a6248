"""Ensure that a cache holds features: the one way to get features that may have to be computed."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bottleneck.cache.listing import Listing
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.recipe import Recipe
from bottleneck.errors import BottleneckError
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.missing import CachedFeatures, compute_missing, find_targets
from bottleneck.extraction.plan import missing_items
from bottleneck.extraction.request import FeatureRequest


@dataclass(frozen=True)
class RecordedFeatures:
    """Features whose recipes are recorded, in a run or a cache.

    Attributes
    ----------
    recipes : tuple of Recipe
        They differ only in the tap.
    views : int
        Views of each image besides the plain one.
    request : callable
        Returns the request that computes them; called only if features are missing.
    """

    recipes: tuple[Recipe, ...]
    views: int
    request: Callable[[], FeatureRequest]


def ensure_features(
    cache: Path,
    listing: Listing,
    wanted: FeatureRequest | RecordedFeatures,
    execution: Execution,
    *,
    damaged: Literal["keep", "remove", "refuse"] = "keep",
    locked: bool = False,
) -> CachedFeatures:
    """Compute the features of a listing's images that a cache is missing.

    If recorded features are complete, nothing is locked, loaded or written.

    Parameters
    ----------
    cache : Path
    listing : Listing
        The cache's own listing is not changed.
    wanted : FeatureRequest or RecordedFeatures
        Weights other than those of recorded features are an error.
    execution : Execution
    damaged : {"keep", "remove", "refuse"}
        What to do with damaged shards of recorded features if no feature is missing besides. If features are
        missing, damaged shards are replaced, or an error.
    locked : bool
        Whether the caller holds the writer's lock, as it must to write the listing.

    Raises
    ------
    BottleneckError
        Another process writes to the cache, a shard is damaged and that is refused, or features cannot be
        computed.
    """
    expected = None
    if isinstance(wanted, RecordedFeatures):
        targets, found = find_targets(cache, wanted.recipes, wanted.views)
        if found and damaged == "refuse":
            raise BottleneckError(next(iter(found.values())))
        complete = not missing_items(listing.not_failed, targets)
        if complete and not (found and damaged == "remove"):
            return CachedFeatures(wanted.recipes, listing)
        expected, wanted = wanted.recipes[0], wanted.request()
    with contextlib.nullcontext() if locked else writer_lock(cache):
        return compute_missing(cache, listing, wanted, execution, expected=expected)
