"""What a cache holds."""

from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.digests import Digests
from bottleneck.cache.listing import Listing, read_listing
from bottleneck.cache.mirror import absent_bytes
from bottleneck.cache.recipe import Recipe, read_recipe
from bottleneck.cache.shard import check_shard, shard_paths
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.survey import survey


@dataclass(frozen=True)
class RecipeInfo:
    """What a cache holds under one recipe.

    Attributes
    ----------
    recipe : Recipe
    views : int
        How many views of each image were asked for besides the plain one.
    shards, rows, bytes : int
        How much there is.
    missing : int
        Usable images of the listing that lack features under this recipe.
    unlisted : int
        Rows of images that are not in the listing.
    """

    recipe: Recipe
    views: int
    shards: int
    rows: int
    bytes: int
    missing: int
    unlisted: int


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Attributes
    ----------
    listing : Listing or None
        None where no extraction has come to its end yet.
    classes, splits : dict
        Number of usable images by label and by split.
    recipes : tuple of RecipeInfo
    """

    listing: Listing | None
    classes: dict[str, int]
    splits: dict[str, int]
    recipes: tuple[RecipeInfo, ...]


def describe(cache: FeatureCache) -> CacheInfo:
    """Count what is there.

    Raises
    ------
    BottleneckError
        Some of it is damaged or of a newer format.
    """
    listing = read_listing(cache.path)
    ok = (listing or Listing("", ())).ok
    needed = ok.digests.distinct()
    return CacheInfo(
        listing=listing,
        classes=ok.tally("label"),
        splits=ok.tally("split"),
        recipes=tuple(_describe(folder, needed) for folder in cache.folders),
    )


def _describe(folder: Path, needed: Digests) -> RecipeInfo:
    paths = shard_paths(folder)
    entry, found = read_recipe(folder), survey(folder)
    for path in found.damaged:
        check_shard(path)  # raises
    return RecipeInfo(
        recipe=entry.recipe,
        views=entry.views,
        shards=found.shards,
        rows=found.rows,
        bytes=sum(path.stat().st_size for path in paths) + absent_bytes(folder),
        missing=int(found.lacks(needed, entry.kept).sum()),
        unlisted=sum(int((needed.find(held.distinct()) < 0).sum()) for held in found.held.values()),
    )
