"""Rows of features, gathered from the shards that hold them."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.digests import Digests
from bottleneck.cache.location import name_of
from bottleneck.cache.mirror import fetch_shards, open_shard
from bottleneck.cache.recipe import Dtype, Recipe
from bottleneck.cache.rows import Row, Rows
from bottleneck.cache.shard import Stored, shard_paths
from bottleneck.errors import BottleneckError

# Shards `iter_batches` keeps mapped at once: each holds a file descriptor, and 1,024 of them is a
# common limit for a process.
_MAPPED_SHARDS = 64

# Threads that check and copy shards: two or three take all the memory gives, and one does not.
_THREADS = min(4, os.cpu_count() or 1)

# Bytes up to which one thread copies: to start others takes as long as to copy a megabyte.
_ALONE = 16 << 20


@dataclass(frozen=True)
class Features:
    """Rows of features and what is known of the images they belong to.

    Attributes
    ----------
    X : ndarray of float32, or of float16 where that was asked for, shape (n, *feature_shape)
        A row for each image, or for each view of it; ``(n, d)`` for pooled features.
    y : ndarray of int64, shape (n,)
        Index into `classes`; -1 for images without a label.
    classes : tuple of str
        Sorted; the same for every split of a cache.
    views : ndarray of uint16, shape (n,)
        Which view of the image it is; 0 is the plain one.
    rows : Rows
        What the listing says of the images, in the order of the rows of features.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    views: NDArray[np.uint16]
    rows: Rows

    # made when they are asked for: it takes as long as to read half the features

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths of the images."""
        return tuple(self.rows.column("path"))

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the images, in hexadecimal."""
        return tuple(self.rows.digests.texts())

    @functools.cached_property
    def splits(self) -> tuple[str | None, ...]:
        """The split each image was assigned to by its source."""
        return tuple(self.rows.column("split"))


def locate(
    cache: Path,
    recipes: Sequence[Recipe],
    rows: Sequence[Row],
    classes: tuple[str, ...],
    views: range = range(1),
) -> "Located":
    """Find the features of images, checking every byte of the shards they may lie in.

    Parameters
    ----------
    cache : Path
    recipes : sequence of Recipe
        Features of several are put side by side.
    rows : sequence of Row
        The images.
    classes : tuple of str
        What labels are counted by.
    views : range
        Which views of each, one after the other; by default the plain one.

    Raises
    ------
    DamagedShardError
        A shard is damaged.
    BottleneckError
        Some of the images have no features, or maps would have to be put side by side.
    """
    images = Rows.of(rows)
    repeated = images.take(np.repeat(np.arange(len(images)), len(views)))
    numbers = np.tile(np.array(views, np.uint16), len(images))
    sources = tuple(_find(cache, recipe, repeated, numbers) for recipe in recipes)
    maps = [recipe.id for recipe in recipes if recipe.pool == "none"]
    if maps and len(recipes) > 1:
        raise BottleneckError(
            f"only vectors can be put side by side, and {maps[0]} keeps maps (--pool none); take it by itself, "
            "or extract again with --pool avg"
        )
    return Located(repeated, numbers, classes, sources)


def _find(cache: Path, recipe: Recipe, rows: Rows, views: NDArray[np.uint16]) -> "Source":
    wanted = [int(view) for view in np.unique(views)]
    folders = sorted({recipe.of_view(view).id for view in wanted})
    for name in folders:
        fetch_shards(cache / "features" / name)
    paths = [path for name in folders for path in shard_paths(cache / "features" / name)]
    digests: dict[int, list[Digests]] = {view: [] for view in wanted}
    places: dict[int, list[NDArray[np.int64]]] = {view: [] for view in wanted}
    stored: list[Stored] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, shard in enumerate(threads.map(open_shard, paths)):
            stored.append(shard.stored)
            for view in wanted:
                held = np.flatnonzero(shard.views == view)
                digests[view].append(shard.digests[_span(held)] if len(held) else Digests.of(()))
                places[view].append(np.stack([np.full(len(held), number), held], axis=1))
    index = np.full((len(rows), 2), -1, np.int64)
    for view in wanted:
        asked = np.flatnonzero(views == view)
        found = Digests.join(digests[view]).find(rows.digests[asked])
        there = np.concatenate([np.empty((0, 2), np.int64), *places[view]])
        index[asked[found >= 0]] = there[found[found >= 0]]
    missing = np.flatnonzero(index[:, 0] < 0)
    if len(missing):
        raise BottleneckError(
            f"{len(missing)} of {len(rows)} images have no features under {recipe.id}, the first "
            f"{rows[missing[0]].path!r} in view {views[missing[0]]}; `bottleneck cache repair {name_of(cache)}` "
            "computes what is missing"
        )
    # their bytes were checked just now
    opened = functools.lru_cache(_MAPPED_SHARDS)(lambda number: stored[number].map())
    return Source(index, opened, stored[0].shape[1:] if stored else (0,))


@dataclass(frozen=True)
class Source:
    """Which shard of a recipe, and which row of it, holds each image's features.

    Attributes
    ----------
    index : ndarray of int64, shape (n, 2)
        Number of the shard, and of the row in it.
    opened : callable
        Gives the features of a shard by its number.
    shape : tuple of int
        Of one image's features.
    """

    index: NDArray[np.int64]
    opened: Callable[[int], NDArray[Any]]
    shape: tuple[int, ...]

    def copy_to(self, X: NDArray[np.float32], part: slice) -> None:
        """Copy the features of a part of the images."""
        index = self.index[part]

        def copy(number: int) -> None:
            taken = np.flatnonzero(index[:, 0] == number)
            X[_span(taken)] = self.opened(number)[_span(index[taken, 1])]

        numbers = np.unique(index[:, 0]).tolist()
        if X.nbytes < _ALONE:
            list(map(copy, numbers))
            return
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(copy, numbers))


@dataclass(frozen=True)
class Located:
    """Images, and where the features of each are.

    Attributes
    ----------
    rows : Rows
        The images, as often as there are views of them.
    views : ndarray of uint16, shape (n,)
    classes : tuple of str
        What labels are counted by.
    sources : tuple of Source
        One for each recipe.
    """

    rows: Rows
    views: NDArray[np.uint16]
    classes: tuple[str, ...]
    sources: tuple[Source, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        if len(self.sources) == 1:
            return self.sources[0].shape
        return (sum(source.shape[0] for source in self.sources),)

    def by_view(self, views: int) -> tuple["Located", ...]:
        """Take the views of the images apart, where there are so many of each, one after the other."""
        places = np.arange(len(self.rows))
        return tuple(self.take(places[view::views]) for view in range(views))

    def take(self, places: NDArray[np.int64]) -> "Located":
        """Take some of the images, in the order given."""
        return Located(
            self.rows.take(places),
            self.views[places],
            self.classes,
            tuple(
                Source(source.index[places], source.opened, source.shape) for source in self.sources
            ),
        )

    def gather(self, part: slice, dtype: Dtype = "float32") -> Features:
        """Read the features of a part of the images into memory."""
        rows = self.rows[part]
        X = np.empty((len(rows), *self.shape), dtype)
        start = 0
        for source in self.sources:
            # the last axis is that of the features, also where they are maps
            source.copy_to(X[..., start : start + source.shape[-1]], part)
            start += source.shape[-1]
        codes = {label: code for code, label in enumerate(self.classes)}
        labels = rows.coded["label"]
        of_label = np.array([codes.get(label, -1) for label in labels.values], np.int64)
        return Features(X, of_label[labels.codes], self.classes, self.views[part], rows)


def _span(places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Give places that follow each other as a slice: copied in one piece, it takes half the time."""
    first = int(places[0])
    if np.array_equal(places, np.arange(first, first + len(places))):
        return slice(first, first + len(places))
    return places
