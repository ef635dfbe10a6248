"""Read → decode → base → write, all at once and all bounded.

Threads read and decode ahead; the calling thread runs the base; one more thread seals shards. What
each may run ahead is limited, so memory does not grow with the image set.
"""

import itertools
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import Recipe
from bottleneck.cache.shard import SHARD_BYTES, write_shard
from bottleneck.extract.plan import Item, Task
from bottleneck.extract.scan import digest_of
from bottleneck.images.decode import Fit, UnreadableImageError, decode
from bottleneck.images.source import read_bytes

# Images to a batch. On two CPU cores the rate does not depend on it between 8 and 32; a small one
# wastes less on the padding of the last.
BATCH_SIZE = 16

# Seconds after which a shard is sealed even if it is small: what a crash can cost.
SEAL_SECONDS = 60.0


class Engine(Protocol):
    """What runs the base: uint8 pixels in, float32 features out."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        ...

    def features(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Run the base over a batch, always of the same size."""
        ...


@dataclass(frozen=True)
class Settings:
    """How the conveyor runs. Nothing in here changes a feature beyond its last bits.

    Attributes
    ----------
    batch_size : int
        Images to a batch.
    workers : int
        Threads that read and decode.
    max_pixels : int
        Pictures with more are refused.
    seal_seconds : float
        A shard is sealed at least this often.
    """

    batch_size: int = BATCH_SIZE
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_pixels: int = 0
    seal_seconds: float = SEAL_SECONDS


@dataclass
class Tally:
    """What a conveyor did, and where its time went.

    Attributes
    ----------
    computed : int
        Images whose features were sealed.
    unreadable : dict
        Reason by path, for files that could not be read.
    undecodable : dict
        Reason by digest, for bytes that are not a usable picture.
    read, decode, base, write : float
        Seconds of work in each stage; those of `read` and `decode` are summed over threads.
    starved, blocked : float
        Seconds the base waited for pixels, and for a shard to be written.
    """

    computed: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, str] = field(default_factory=dict)
    read: float = 0.0
    decode: float = 0.0
    base: float = 0.0
    write: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0

    @property
    def held_back_by(self) -> str:
        """The stage that determined how long it took; empty where there was nothing to do."""
        waits = {"starved": self.starved, "blocked": self.blocked, "base": self.base}
        slowest = max(waits, key=lambda name: waits[name])
        if not waits[slowest]:
            return ""
        if slowest == "starved":
            return "read" if self.read > self.decode else "decode"
        return "write" if slowest == "blocked" else "base"
