"""A cache opened for reading."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.listing import FILE_NAME as LISTING
from bottleneck.cache.listing import Listing, Row, read_listing
from bottleneck.cache.recipe import Recipe, RecipeFile, read_recipe
from bottleneck.cache.shard import PATTERN, Shard, read_shard
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


class FeatureCache:
    """The features of one image set, under any number of recipes. Reading never blocks or locks.

    Parameters
    ----------
    path : path
        The cache's folder.

    Raises
    ------
    BottleneckError
        There is no cache at `path`.

    Examples
    --------
    >>> cache = FeatureCache(example_cache)
    >>> [recipe.image_size for recipe in cache.recipes]
    [75]
    >>> train = cache.load(split="train")
    >>> train.X.shape, train.X.dtype.name, train.classes
    ((4, 3), 'float32', ('cat', 'dog'))
    >>> [len(batch.y) for batch in cache.iter_batches(batch_size=4)]
    [4, 2]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / LISTING).exists() and not (self.path / "features").is_dir():
            raise BottleneckError(
                f"no cache at {self.path}; make one with: bottleneck extract IMAGES --cache {self.path}"
            )

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r})"

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes there are features for, sorted by id."""
        return tuple(entry.recipe for entry in self.recipe_files)

    @property
    def recipe_files(self) -> tuple[RecipeFile, ...]:
        """The recipes with what is known of where their weights are to be had."""
        folders = sorted((self.path / "features").glob("*/"))
        return tuple(read_recipe(folder) for folder in folders)

    @property
    def listing(self) -> Listing:
        """The images of the set, each ok or failed with a reason.

        Raises
        ------
        BottleneckError
            No extraction has ended yet, or the file is damaged or of a newer format.
        """
        listing = read_listing(self.path)
        if listing is None:
            raise BottleneckError(
                f"{self.path} has no listing: its first extraction was interrupted; run the same "
                "`bottleneck extract` again to go on with it"
            )
        return listing

    def find_recipe(self, recipe: Recipe | str | None = None) -> RecipeFile:
        """Find a recipe by its id or the beginning of it; None where there is only one.

        Raises
        ------
        BottleneckError
            None or several fit; the message lists those there are.
        """
        asked = recipe.id if isinstance(recipe, Recipe) else recipe or ""
        there = self.recipe_files
        found = [entry for entry in there if entry.recipe.id.startswith(asked)]
        if len(found) != 1:
            listed = ", ".join(entry.recipe.id for entry in there) or "none"
            wrong = "several recipes fit" if found else f"no recipe {asked!r}"
            raise BottleneckError(
                f"{wrong} in {self.path}; it has: {listed}. Name one of them with --recipe"
            )
        return found[0]

    def load(
        self, recipe: Recipe | str | None = None, split: str | None = None, view: int = 0
    ) -> Features:
        """Read features into memory, checking every byte they come from.

        Parameters
        ----------
        recipe : Recipe or str, optional
            A recipe, its id, or the beginning of its id. May be left out where there is one only.
        split : {"train", "val", "test"}, optional
            Only the images assigned to it by their source. By default all of them.
        view : int
            0 is the plain picture.

        Returns
        -------
        Features
            Of the images that are ok, in the listing's order. `X` is float32, n × d.

        Raises
        ------
        BottleneckError
            A shard is damaged, features are missing, or there is no such recipe or split. Wrong
            numbers are never returned.
        """
        found = self._locate(recipe, split, view)
        return found.gather(slice(None))

    def iter_batches(
        self,
        recipe: Recipe | str | None = None,
        split: str | None = None,
        view: int = 0,
        batch_size: int = 1024,
    ) -> Iterator[Features]:
        """Read features a batch at a time, for sets larger than memory.

        Parameters
        ----------
        recipe, split, view
            As for `load`.
        batch_size : int
            Rows in each batch; the last may be shorter.

        Yields
        ------
        Features
            Together the same rows as `load` gives, in the same order.

        Raises
        ------
        BottleneckError
            As for `load`, before the first batch.
        """
        found = self._locate(recipe, split, view)
        for start in range(0, len(found.rows), batch_size):
            yield found.gather(slice(start, start + batch_size))

    def _locate(self, recipe: Recipe | str | None, split: str | None, view: int) -> "_Located":
        listing = self.listing
        rows = tuple(row for row in listing.ok if split is None or row.split == split)
        if split is not None and not rows:
            there = ", ".join(sorted({row.split for row in listing.ok if row.split})) or "none"
            raise BottleneckError(f"{self.path} has no images in split {split!r}; its splits: {there}")
        name = self.find_recipe(recipe).recipe.id
        paths = shard_paths(self.path / "features" / name)
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
                f"{len(missing)} of {len(rows)} images have no features under {name} in view {view}, the first "
                f"{missing[0]!r}; `bottleneck cache repair {self.path}` computes what is missing"
            )
        index = np.array([places[row.digest] for row in rows], np.int64).reshape(-1, 2)
        # their bytes were checked just now
        opened = functools.lru_cache(_MAPPED_SHARDS)(lambda n: read_shard(paths[n], check=False))
        return _Located(rows, listing.classes, index, opened, shape)


def shard_paths(folder: Path) -> list[Path]:
    """The sealed shards in a recipe's folder, in a fixed order."""
    return sorted(folder.glob(PATTERN))


@dataclass(frozen=True)
class _Located:
    """Which shard, and which row of it, holds each image's features."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    index: NDArray[np.int64]
    opened: Callable[[int], Shard]
    shape: tuple[int, ...]

    def gather(self, part: slice) -> Features:
        rows, index = self.rows[part], self.index[part]
        X = np.empty((len(rows), *self.shape), np.float32)
        for number in np.unique(index[:, 0]):
            taken = np.flatnonzero(index[:, 0] == number)
            X[taken] = self.opened(int(number)).features[index[taken, 1]]
        codes = {label: code for code, label in enumerate(self.classes)}
        return Features(
            X=X,
            y=np.array([codes[row.label] if row.label else -1 for row in rows], np.int64),
            classes=self.classes,
            paths=tuple(row.path for row in rows),
            digests=tuple(row.digest for row in rows),
            splits=tuple(row.split for row in rows),
        )
