"""Removing features no listed image needs."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.digests import Digests
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.mirror import fetch_shards, forget
from bottleneck.cache.quantised import quantised_paths
from bottleneck.cache.recipe import FILE_NAME as RECIPE
from bottleneck.cache.recipe import read_recipe
from bottleneck.cache.shard import read_shard, shard_paths, write_shard
from bottleneck.cache.store import FeatureCache


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be.

    Attributes
    ----------
    rows, bytes : int
    recipes : tuple of str
        Ids of recipes removed altogether.
    """

    rows: int
    bytes: int
    recipes: tuple[str, ...]


def prune(cache: FeatureCache, *, recipe: str | None = None, dry_run: bool = False) -> Pruned:
    """Remove the features of images that are not in the listing, or those of a whole recipe.

    Parameters
    ----------
    cache : FeatureCache
    recipe : str, optional
        Id of a recipe, or its beginning: remove everything under it.
    dry_run : bool
        Only tell what would be removed.

    Raises
    ------
    BottleneckError
        The cache is damaged (repair it first), has no listing, or somebody is writing to it.
    """
    with writer_lock(cache.path):
        if recipe is not None:
            return _drop(cache, cache.find_recipe(recipe).recipe.id, dry_run)
        needed = cache.listing.ok.digests
        rows = freed = 0
        for folder in cache.folders:
            fetch_shards(folder)
            for path in shard_paths(folder):
                gone, less = _prune_shard(folder, path, needed, dry_run)
                rows, freed = rows + gone, freed + less
    return Pruned(rows, freed, ())


def _drop(cache: FeatureCache, name: str, dry_run: bool) -> Pruned:
    folder = cache.path / "features" / name
    fetch_shards(folder)
    shards = shard_paths(folder)
    rows = sum(len(read_shard(path).digests) for path in shards)
    others = {entry.recipe.weights for entry in cache.recipe_files if entry.recipe.id != name}
    graphs = [path for path in quantised_paths(cache.path) if path.name not in others]
    freed = sum(path.stat().st_size for path in (*shards, *graphs))
    if not dry_run:
        for path in (*shards, *graphs, folder / RECIPE):
            forget(path)
        shutil.rmtree(folder)
    return Pruned(rows, freed, (name,))


def _prune_shard(folder: Path, path: Path, needed: Digests, dry_run: bool) -> tuple[int, int]:
    """Replace a shard by one without the rows nobody needs: what is sealed is never changed."""
    shard = read_shard(path)
    keep = needed.find(shard.digests) >= 0
    if keep.all():
        return 0, 0
    freed = path.stat().st_size
    if not dry_run:
        if keep.any():
            digests = shard.digests[keep]
            recipe = read_recipe(folder).recipe
            new = write_shard(folder, recipe, digests, shard.views[keep], shard.features[keep])
            freed -= new.stat().st_size
        forget(path)
    elif keep.any():
        freed = shard.features[~keep].nbytes
    return int((~keep).sum()), freed
