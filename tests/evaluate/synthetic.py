"""Caches whose features are made up, so that what is right about them is known."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.recipe import Recipe, RecipeFile, write_recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import write_shard
from tests.cache.test_recipe import RECIPE


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_cache(
    path: Path,
    X: np.ndarray,
    labels: Sequence[str],
    splits: Sequence[str | None],
    *,
    recipe: Recipe = RECIPE,
    digests: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> Path:
    """Write a cache of images that need not be there."""
    own = [digest(n) for n in range(len(X))] if digests is None else list(digests)
    folder = path / "features" / recipe.id
    folder.mkdir(parents=True)
    write_recipe(folder, RecipeFile(recipe, "imagenet", (), 0))
    firsts = sorted({name: n for n, name in reversed(list(enumerate(own)))}.values())
    write_shard(
        folder, recipe, [own[n] for n in firsts], np.zeros(len(firsts), np.uint16), X[firsts]
    )
    names = [f"{n:04d}.jpg" for n in range(len(X))] if paths is None else paths
    rows = [
        Row(name, key, label, split)
        for name, key, label, split in zip(names, own, labels, splits, strict=True)
    ]
    write_listing(path, Listing(str(path), tuple(rows)))
    return path


def clusters(
    n: int, classes: int, *, width: int = 24, apart: float = 1.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features around a centre for each class, and the classes."""
    rng = np.random.default_rng(seed)
    centres = apart * rng.standard_normal((classes, width)) / np.sqrt(2)
    y = np.arange(n) % classes
    return (centres[y] + rng.standard_normal((n, width))).astype(np.float32), y


def three_splits(n: int) -> list[str]:
    """Every fifth image validates and every fifth tests."""
    rng = np.random.default_rng(9)
    names = np.array(["train", "train", "train", "val", "test"])[np.arange(n) % 5]
    return [str(name) for name in rng.permutation(names)]
