"""What a recipe's shards hold, every byte of them checked."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottleneck.cache.shard import DamagedShardError, read_shard, shard_paths


@dataclass(frozen=True)
class Survey:
    """What a recipe's shards hold.

    Attributes
    ----------
    shards, rows : int
        Number of shards that are as they were sealed, and of rows in them.
    held : dict of int to set of str
        Digests of the images there are features for, by view.
    damaged : dict of Path to str
        The other shards, and what is wrong with each.
    """

    shards: int
    rows: int
    held: Mapping[int, set[str]]
    damaged: Mapping[Path, str]

    def lacking(self, digests: Iterable[str], views: range) -> set[str]:
        """Those of some images that lack features of one of the views, or more."""
        held = [self.held.get(view, set()) for view in views]
        return {digest for digest in digests if not all(digest in some for some in held)}


def survey(folder: Path) -> Survey:
    """Read all shards in a recipe's folder.

    Raises
    ------
    BottleneckError
        One is of a newer format.
    """
    shards = rows = 0
    held: dict[int, set[str]] = {}
    damaged = {}
    for path in shard_paths(folder):
        try:
            shard = read_shard(path)
        except DamagedShardError as error:
            damaged[path] = str(error)
            continue
        shards, rows = shards + 1, rows + len(shard.digests)
        for view in np.unique(shard.views):
            held.setdefault(int(view), set()).update(
                itertools.compress(shard.digests, shard.views == view)
            )
    return Survey(shards, rows, held, damaged)
