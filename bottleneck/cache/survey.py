"""What a recipe's shards hold, every byte of them checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.digests import Digests
from bottleneck.cache.mirror import absent_keys, open_shard
from bottleneck.cache.shard import DamagedShardError, shard_paths


@dataclass(frozen=True)
class Survey:
    """What a recipe's shards hold.

    Attributes
    ----------
    shards, rows : int
        Number of shards that are as they were sealed, and of rows in them.
    held : dict of int to Digests
        Of the images there are features for, by view.
    damaged : dict of Path to str
        The other shards, and what is wrong with each.
    """

    shards: int
    rows: int
    held: Mapping[int, Digests]
    damaged: Mapping[Path, str]

    def lacks(self, digests: Digests, views: range) -> NDArray[np.bool_]:
        """Tell which of some images lack features of one of the views, or more."""
        nothing = Digests.of(())
        found = np.zeros(len(digests), bool)
        for view in views:
            found |= self.held.get(view, nothing).find(digests) < 0
        return found


def survey(folder: Path) -> Survey:
    """Read all shards in a recipe's folder.

    Of those of a mirror that are not here only the digests and views are read and checked.

    Raises
    ------
    BottleneckError
        One is of a newer format.
    """
    shards = rows = 0
    held: dict[int, list[Digests]] = {}
    damaged = {}

    def add(digests: Digests, views: NDArray[np.uint16]) -> None:
        nonlocal shards, rows
        shards, rows = shards + 1, rows + len(digests)
        for view in np.unique(views):
            held.setdefault(int(view), []).append(digests[views == view])

    for path in shard_paths(folder):
        try:
            shard = open_shard(path)
        except DamagedShardError as error:
            damaged[path] = str(error)
            continue
        add(shard.digests, shard.views)
    for _, digests, views in absent_keys(folder):
        add(digests, views)
    joined = {view: Digests.join(parts) for view, parts in held.items()}
    return Survey(shards, rows, joined, damaged)
