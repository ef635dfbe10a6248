"""What is missing, as tasks that do not depend on each other.

A task names all it needs and leaves sealed shards behind, so tasks may run in any order, in any
process, on any machine that sees the images and the cache.
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
        The views that are wanted under it.
    held : dict of int to Digests
        Of the images there are features for, by view.
    """

    recipe: Recipe
    views: range
    held: Mapping[int, Digests]

    def lacks(self, digest: str, view: int) -> bool:
        """Whether features of an image's view are wanted and not there."""
        return view in self.views and digest not in self.held.get(view, ())


@dataclass(frozen=True, slots=True)  # there is one for each image
class Item:
    """One image to compute: its digest, every path it is known under, and the views of it.

    Without a digest it is a file that has not been read yet, and its views are those it may lack. Its size in bytes
    is what it was when it was listed; -1 where that is not known.
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
    """The images that have to be computed; an item is made when it is looked at.

    Attributes
    ----------
    rows : Rows
        One for each.
    lacked : ndarray of bool, shape (views, n)
        Which views each lacks.
    views : tuple of int
        What they are counted by.
    copies : mapping of int to tuple of str
        The other paths of those that are listed more than once, by place.
    """

    rows: Rows
    lacked: NDArray[np.bool_]
    views: tuple[int, ...]
    copies: Mapping[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, item: object) -> bool:
        return any(item == mine for mine in self)

    def __iter__(self) -> Iterator[Item]:
        for place, row in enumerate(self.rows):
            views = tuple(itertools.compress(self.views, self.lacked[:, place]))
            yield Item(row.digest, (row.path, *self.copies.get(place, ())), views, row.size)

    @property
    def total(self) -> int:
        """How many views there are to compute."""
        return int(self.lacked.sum())


def missing_items(rows: Iterable[Row], targets: Sequence[Target]) -> Missing:
    """Tell which images have to be computed: each distinct one once, in the order of the listing.

    Parameters
    ----------
    rows : iterable of Row
        Usable images, and unread ones, each of which may have to be.
    targets : sequence of Target
        What any of them lacks is computed.

    Examples
    --------
    >>> recipe = Recipe("inception_v3", "mixed10", "avg", "random-0", "00" * 32, 299, "squash", "d")
    >>> a, b = "1f" * 32, "2e" * 32
    >>> rows = [Row("a.jpg", a), Row("b.jpg", b), Row("copy of a.jpg", a)]
    >>> [item] = missing_items(rows, [Target(recipe, range(1), held={0: Digests.of([b])})])
    >>> item.digest == a, item.paths, item.views
    (True, ('a.jpg', 'copy of a.jpg'), (0,))
    """
    listed = Rows.of(rows)
    nothing = Digests.of(())
    views = sorted({view for target in targets for view in target.views})
    # whole columns at once: of a large set that has not changed nothing is left
    lacking = np.zeros((len(views), len(listed)), bool)
    for number, view in enumerate(views):
        for target in targets:
            if view in target.views:
                lacking[number] |= target.held.get(view, nothing).find(listed.digests) < 0
    concerned: NDArray[np.bool_] = np.logical_or.reduce(lacking, axis=0)
    found = listed.only(concerned)
    first = found.digests.find(found.digests)
    # one that is unread is like no other yet
    first = np.where(found.digests.present, first, np.arange(len(found)))
    distinct = first == np.arange(len(found))
    place = (np.cumsum(distinct) - 1)[first].tolist()
    again = np.flatnonzero(~distinct)
    copies: dict[int, list[str]] = {}
    for number, row in zip(again.tolist(), found.take(again), strict=True):
        copies.setdefault(place[number], []).append(row.path)
    return Missing(
        found.only(distinct),
        lacking[:, concerned][:, distinct],
        tuple(views),
        {number: tuple(named) for number, named in copies.items()},
    )


def rows_per_task(bytes_per_row: int, batch_size: int) -> int:
    """How many rows fill a shard, in whole batches so that only the very last is padded.

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
    """Cut the images into tasks of so many views, or a few more where an image has several.

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
