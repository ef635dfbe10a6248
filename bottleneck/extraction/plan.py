"""Missing features, as tasks that do not depend on each other.

A task contains everything it needs and results in sealed shards, so tasks may run in any order, in any
process, on any machine that can reach the images and the cache.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.digests import Digests
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row, Rows
from bottleneck.cache.shard import SHARD_BYTES


@dataclass(frozen=True)
class Target:
    """A recipe to bring up to date.

    Attributes
    ----------
    recipe : Recipe
    views : range
        The views wanted under it.
    cached : dict of int to Digests
        Images whose features are cached, by view.
    """

    recipe: Recipe
    views: range
    cached: Mapping[int, Digests]

    def is_missing(self, digest: str, view: int) -> bool:
        """Whether features of an image's view are wanted and not cached."""
        return view in self.views and digest not in self.cached.get(view, ())


@dataclass(frozen=True, slots=True)  # there is one for each image
class Item:
    """One image to compute: its digest, every path it is known under, and the views of it.

    Without a digest it is a file that has not been read yet, and its views are those that may be missing.
    `size` is its size in bytes when it was listed; -1 if that is not known.
    """

    digest: str
    paths: tuple[str, ...]
    views: tuple[int, ...] = (0,)
    size: int = field(default=-1, compare=False)


@dataclass(frozen=True)
class Task:
    """Images to compute in one go, whose features make up as many shards as they fill."""

    items: Collection[Item]


@dataclass(frozen=True, eq=False)
class Missing(Collection[Item]):
    """Images that have to be computed; items are created on access.

    Attributes
    ----------
    rows : Rows
        One for each image.
    missing : ndarray of bool, shape (views, n)
        Which views of each are missing.
    views : tuple of int
        The views, in the order of `missing`.
    copies : mapping of int to tuple of str
        The other paths of images that are listed more than once, by row number.
    """

    rows: Rows
    missing: NDArray[np.bool_]
    views: tuple[int, ...]
    copies: Mapping[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, item: object) -> bool:
        return any(item == mine for mine in self)

    def __iter__(self) -> Iterator[Item]:
        for number, row in enumerate(self.rows):
            views = tuple(itertools.compress(self.views, self.missing[:, number]))
            yield Item(row.digest, (row.path, *self.copies.get(number, ())), views, row.size)

    @property
    def total(self) -> int:
        """Number of views to compute."""
        return int(self.missing.sum())


def missing_items(rows: Iterable[Row], targets: Sequence[Target]) -> Missing:
    """Find the images that have to be computed: each distinct one once, in the order of the listing.

    Parameters
    ----------
    rows : iterable of Row
        Usable images, and unread ones, each of which may have to be.
    targets : sequence of Target
        An image is computed if any of them misses it.

    Examples
    --------
    >>> recipe = Recipe("inception_v3", "mixed10", "avg", "random-0", "00" * 32, 299, "squash", "d")
    >>> a, b = "1f" * 32, "2e" * 32
    >>> rows = [Row("a.jpg", a), Row("b.jpg", b), Row("copy of a.jpg", a)]
    >>> [item] = missing_items(rows, [Target(recipe, range(1), cached={0: Digests.of([b])})])
    >>> item.digest == a, item.paths, item.views
    (True, ('a.jpg', 'copy of a.jpg'), (0,))
    """
    listed = Rows.of(rows)
    nothing = Digests.of(())
    views = sorted({view for target in targets for view in target.views})
    # whole columns at once: nothing is left of a large set that has not changed
    missing = np.zeros((len(views), len(listed)), bool)
    for number, view in enumerate(views):
        for target in targets:
            if view in target.views:
                missing[number] |= target.cached.get(view, nothing).find(listed.digests) < 0
    concerned: NDArray[np.bool_] = np.logical_or.reduce(missing, axis=0)
    found = listed.only(concerned)
    first = found.digests.find(found.digests)
    # an unread image may be a copy of any other
    first = np.where(found.digests.present, first, np.arange(len(found)))
    distinct = first == np.arange(len(found))
    position = (np.cumsum(distinct) - 1)[first].tolist()
    again = np.flatnonzero(~distinct)
    copies: dict[int, list[str]] = {}
    for number, row in zip(again.tolist(), found.take(again), strict=True):
        copies.setdefault(position[number], []).append(row.path)
    return Missing(
        found.only(distinct),
        missing[:, concerned][:, distinct],
        tuple(views),
        {number: tuple(named) for number, named in copies.items()},
    )


def rows_per_task(bytes_per_row: int, batch_size: int) -> int:
    """Return how many rows fill a shard, in whole batches so that only the last one is padded.

    Parameters
    ----------
    bytes_per_row : int
        Of the features of all taps.
    batch_size : int

    Examples
    --------
    >>> rows_per_task(4 * 2048, batch_size=16)
    2048
    """
    return max(SHARD_BYTES // bytes_per_row // batch_size, 1) * batch_size


def plan_tasks(items: Iterable[Item], rows_per_task: int) -> list[Task]:
    """Split images into tasks of this many views, or a few more if an image has several.

    Examples
    --------
    >>> [len(task.items) for task in plan_tasks([Item("1f", ("a",))] * 5, rows_per_task=2)]
    [2, 2, 1]
    """
    tasks: list[Task] = []
    batch: list[Item] = []
    rows = 0
    for item in items:
        batch.append(item)
        rows += len(item.views)
        if rows >= rows_per_task:
            tasks.append(Task(tuple(batch)))
            batch, rows = [], 0
    return [*tasks, Task(tuple(batch))] if batch else tasks
