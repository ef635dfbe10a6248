"""What is missing, as tasks that do not depend on each other.

A task names all it needs and leaves sealed shards behind, so tasks may run in any order, in any
process, on any machine that sees the images and the cache.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bottleneck.cache.digests import Digests
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row, Rows


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
    """One image to compute: its digest, every path it is known under, and the views of it."""

    digest: str
    paths: tuple[str, ...]
    views: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Task:
    """Images whose features make up one shard, or more where that takes long."""

    items: tuple[Item, ...]


def missing_items(rows: Iterable[Row], targets: Sequence[Target]) -> list[Item]:
    """Tell which images have to be computed: each distinct one once, in the order of the listing.

    Parameters
    ----------
    rows : iterable of Row
        Usable images.
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
    concerned = np.flatnonzero(lacking.any(axis=0))
    paths: dict[str, list[str]] = {}
    lacked: dict[str, tuple[int, ...]] = {}
    for place, row in zip(concerned, listed.take(concerned), strict=True):
        paths.setdefault(row.digest, []).append(row.path)
        lacked[row.digest] = tuple(
            view for view, some in zip(views, lacking[:, place], strict=True) if some
        )
    return [Item(digest, tuple(named), lacked[digest]) for digest, named in paths.items()]


def plan_tasks(items: list[Item], rows_per_task: int) -> list[Task]:
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
