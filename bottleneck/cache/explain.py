"""Why features are there, or not."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from bottleneck.cache.digests import Digests
from bottleneck.cache.mirror import fetch_shards
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import read_shard, shard_paths
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError


@dataclass(frozen=True)
class Holding:
    """Where features of an image lie.

    Attributes
    ----------
    recipe, shard : str
        Id of the recipe and name of the file.
    row, view : int
    """

    recipe: str
    shard: str
    row: int
    view: int


def differences(recipes: tuple[Recipe, ...]) -> dict[str, tuple[str, ...]]:
    """Fields in which recipes differ, with the value of each recipe.

    Examples
    --------
    >>> a = Recipe("inception_v3", "mixed10", "avg", "random-0", "00" * 32, 299, "squash", "d")
    >>> differences((a, dataclasses.replace(a, tap="mixed7")))
    {'tap': ('mixed10', 'mixed7')}
    """
    columns = {
        field.name: tuple(str(getattr(recipe, field.name)) for recipe in recipes)
        for field in dataclasses.fields(Recipe)
    }
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def find_image(cache: FeatureCache, image: str) -> tuple[Row, ...]:
    """Find an image in the listing by its path, the end of its path, or its digest's beginning.

    Raises
    ------
    BottleneckError
        It is not listed.
    """
    rows = cache.listing.rows
    found = tuple(row for row in rows if row.path == image) or tuple(
        row
        for row in rows
        if row.path.endswith(f"/{image}")
        or image.endswith(f"/{row.path}")
        # eight digits: fewer could well be a name
        or (len(image) >= 8 and row.digest.startswith(image))
    )
    if not found:
        raise BottleneckError(
            f"{image!r} is not in the listing of {cache.name}, by path or by digest; "
            "if it is new: bottleneck extract"
        )
    return found


def holdings(cache: FeatureCache, digest: str) -> tuple[Holding, ...]:
    """Tell which shards hold an image's features, under every recipe."""
    found = []
    for folder in cache.folders:
        fetch_shards(folder)
        for path in shard_paths(folder):
            shard = read_shard(path)
            rows = np.flatnonzero(Digests.of([digest]).find(shard.digests) == 0)
            found += [
                Holding(folder.name, path.name, int(row), int(shard.views[row])) for row in rows
            ]
    return tuple(found)
