"""Rows of features, gathered from the shards that hold them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.listing import Row
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.shard import Shard, read_shard, shard_paths
from bottleneck.errors import BottleneckError

# Shards `iter_batches` keeps mapped at once: each holds a file descriptor, and 1,024 of them is a
# common limit for a process.
_MAPPED_SHARDS = 64


@dataclass(frozen=True)
class Features:
    """Rows of features and what is known of the images they belong to.

    Attributes
    ----------
    X : ndarray of float32, shape (n, *feature_shape)
        One row per image; ``(n, d)`` for pooled features.
    y : ndarray of int64, shape (n,)
        Index into `classes`; -1 for images without a label.
    classes : tuple of str
        Sorted; the same for every split of a cache.
    paths, digests : tuple of str
        Of the images, in the order of the rows.
    splits : tuple of (str or None)
        The split each image was assigned to by its source.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    splits: tuple[str | None, ...]


def locate(
    cache: Path,
    recipe: Recipe,
    rows: tuple[Row, ...],
    classes: tuple[str, ...],
    *,
    view: int = 0,
) -> "Located":
    """Find the features of images, checking every byte of the shards they may lie in.

    Raises
    ------
    DamagedShardError
        A shard is damaged.
    BottleneckError
        Some of the images have no features.
    """
    paths = shard_paths(cache / "features" / recipe.id)
    places: dict[str, tuple[int, int]] = {}
    shape: tuple[int, ...] = (0,)
    for number, path in enumerate(paths):
        shard = read_shard(path)
        shape = shard.features.shape[1:]
        for row in np.flatnonzero(shard.views == view):
            places.setdefault(shard.digests[row], (number, int(row)))
    missing = [row.path for row in rows if row.digest not in places]
    if missing:
        raise BottleneckError(
            f"{len(missing)} of {len(rows)} images have no features under {recipe.id} in view {view}, the first "
            f"{missing[0]!r}; `bottleneck cache repair {cache}` computes what is missing"
        )
    index = np.array([places[row.digest] for row in rows], np.int64).reshape(-1, 2)
    # their bytes were checked just now
    opened = functools.lru_cache(_MAPPED_SHARDS)(lambda n: read_shard(paths[n], check=False))
    return Located(rows, classes, index, opened, shape)


@dataclass(frozen=True)
class Located:
    """Which shard, and which row of it, holds each image's features.

    Attributes
    ----------
    rows : tuple of Row
        The images.
    classes : tuple of str
        What labels are counted by.
    index : ndarray of int64, shape (n, 2)
        Number of the shard, and of the row in it.
    opened : callable
        Gives a shard by its number.
    shape : tuple of int
        Of one image's features.
    """

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    index: NDArray[np.int64]
    opened: Callable[[int], Shard]
    shape: tuple[int, ...]

    def gather(self, part: slice) -> Features:
        """Read the features of a part of the images into memory."""
        rows, index = self.rows[part], self.index[part]
        X = np.empty((len(rows), *self.shape), np.float32)
        for number in np.unique(index[:, 0]):
            taken = np.flatnonzero(index[:, 0] == number)
            features = self.opened(int(number)).features
            X[_span(taken)] = features[_span(index[taken, 1])]
        codes = {label: code for code, label in enumerate(self.classes)}
        return Features(
            X=X,
            y=np.array([codes[row.label] if row.label else -1 for row in rows], np.int64),
            classes=self.classes,
            paths=tuple(row.path for row in rows),
            digests=tuple(row.digest for row in rows),
            splits=tuple(row.split for row in rows),
        )


def _span(places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Give places that follow each other as a slice: copied in one piece, it takes half the time."""
    first = int(places[0])
    if np.array_equal(places, np.arange(first, first + len(places))):
        return slice(first, first + len(places))
    return places
