"""Clouds of features, and caches of them written by hand: no network has to run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.recipe import RecipeFile, write_recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import write_shard
from bottleneck.heads.contract import Sample
from tests.cache.test_recipe import RECIPE

CLASSES, WIDTH = 3, 20


def blobs(count: int, seed: int) -> Sample:
    """Three clouds that overlap a little, with features of very different sizes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    X = rng.standard_normal((count, WIDTH)) + 2 * np.eye(CLASSES, WIDTH)[y]
    return Sample((X * np.logspace(-2, 2, WIDTH)).astype(np.float32), y.astype(np.int64))


def as_maps(sample: Sample) -> Sample:
    """Spread each row over a map of 2 × 2."""
    X = np.broadcast_to(sample.X[:, None, None], (len(sample.X), 2, 2, sample.X.shape[1]))
    return Sample(np.ascontiguousarray(X), sample.y)


def write_cache(
    path: Path, X: NDArray[np.floating], y: NDArray[np.int64], splits: list[str | None]
) -> Path:
    """Write a cache of images whose features are these."""
    folder = path / "features" / RECIPE.id
    folder.mkdir(parents=True)
    write_recipe(folder, RecipeFile(RECIPE, "random-0", ()))
    digests = [f"{number:064x}" for number in range(len(X))]
    for start in range(0, len(X), 4096):
        part = slice(start, start + 4096)
        views = np.zeros(len(X[part]), np.uint16)
        write_shard(folder, RECIPE, digests[part], views, X[part])
    rows = (
        Row(f"{number:05d}.jpg", digest, f"class {code}", split)
        for number, (digest, code, split) in enumerate(zip(digests, y, splits, strict=True))
    )
    write_listing(path, Listing(path, tuple(rows)))
    return path


def write_blobs(path: Path, count: int = 120) -> Path:
    """Write a cache of clouds: two thirds to train on, the rest to validate with and to test."""
    sample = blobs(count, 1)
    return write_cache(
        path, sample.X, sample.y, ["train", "train", "val", "train", "train", "test"] * (count // 6)
    )
