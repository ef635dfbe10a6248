"""What a cache holds."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.listing import Listing, read_listing
from bottleneck.cache.recipe import Recipe, read_recipe
from bottleneck.cache.shard import read_shard, shard_paths
from bottleneck.cache.store import FeatureCache


@dataclass(frozen=True)
class RecipeInfo:
    """What a cache holds under one recipe.

    Attributes
    ----------
    recipe : Recipe
    shards, rows, bytes : int
        How much there is.
    missing : int
        Usable images of the listing that have no features under this recipe.
    unlisted : int
        Rows of images that are not in the listing.
    """

    recipe: Recipe
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
    ok = listing.ok if listing else ()
    needed = {row.digest for row in ok}
    return CacheInfo(
        listing=listing,
        classes=dict(sorted(Counter(row.label for row in ok if row.label).items())),
        splits=dict(sorted(Counter(row.split for row in ok if row.split).items())),
        recipes=tuple(_describe(folder, needed) for folder in cache.folders),
    )


def _describe(folder: Path, needed: set[str]) -> RecipeInfo:
    paths = shard_paths(folder)
    digests = [digest for path in paths for digest in read_shard(path).digests]
    return RecipeInfo(
        recipe=read_recipe(folder).recipe,
        shards=len(paths),
        rows=len(digests),
        bytes=sum(path.stat().st_size for path in paths),
        missing=len(needed.difference(digests)),
        unlisted=sum(digest not in needed for digest in digests),
    )
