"""What is missing, as tasks that do not depend on each other.

A task names all it needs and leaves sealed shards behind, so tasks may run in any order, in any
process, on any machine that sees the images and the cache.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bottleneck.cache.listing import Row


@dataclass(frozen=True)
class Item:
    """One image to compute: its digest, and every path it is known under."""

    digest: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Images whose features make up one shard, or more where that takes long."""

    items: tuple[Item, ...]


def missing_items(rows: Iterable[Row], held: Collection[str]) -> list[Item]:
    """Tell which images have to be computed: each distinct one once, in the order of the listing.

    Parameters
    ----------
    rows : iterable of Row
        Usable images.
    held : collection of str
        Digests there are features for.

    Examples
    --------
    >>> rows = [Row("a.jpg", "1f"), Row("b.jpg", "2e"), Row("copy of a.jpg", "1f")]
    >>> missing_items(rows, held={"2e"})
    [Item(digest='1f', paths=('a.jpg', 'copy of a.jpg'))]
    """
    paths: dict[str, list[str]] = {}
    for row in rows:
        if row.digest not in held:
            paths.setdefault(row.digest, []).append(row.path)
    return [Item(digest, tuple(named)) for digest, named in paths.items()]


def plan_tasks(items: list[Item], rows_per_task: int) -> list[Task]:
    """Cut the images into tasks of at most so many.

    Examples
    --------
    >>> [len(task.items) for task in plan_tasks([Item("1f", ("a",))] * 5, rows_per_task=2)]
    [2, 2, 1]
    """
    starts = range(0, len(items), rows_per_task)
    return [Task(tuple(items[start : start + rows_per_task])) for start in starts]
