"""Read → decode → base → write, all at once and all bounded.

Threads read and decode ahead; the calling thread runs the base; one more thread seals shards. What
each may run ahead is limited, so memory does not grow with the image set.
"""

import contextlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import Recipe
from bottleneck.cache.shard import SHARD_BYTES, write_shard
from bottleneck.errors import BottleneckError
from bottleneck.extraction.plan import Item, Task
from bottleneck.extraction.scan import digest_of
from bottleneck.images.decode import MAX_PIXELS, UnreadableImageError, decode, pixel_limit
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
        Pictures with more pixels are refused.
    seal_seconds : float
        A shard is sealed at least this often.

    Raises
    ------
    BottleneckError
        One of them is too small.
    """

    batch_size: int = BATCH_SIZE
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_pixels: int = MAX_PIXELS
    seal_seconds: float = SEAL_SECONDS

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "workers": 1, "max_pixels": 1, "seal_seconds": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value < minimum:
                raise BottleneckError(f"{name} takes a number from {minimum}, not {value}")


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


def rows_per_task(feature_shape: tuple[int, ...], batch_size: int) -> int:
    """How many images fill a shard, in whole batches so that only the very last is padded.

    Examples
    --------
    >>> rows_per_task((2048,), batch_size=16)
    8192
    """
    rows = SHARD_BYTES // (4 * int(np.prod(feature_shape)))
    return max(rows // batch_size, 1) * batch_size


def run_task(
    task: Task,
    *,
    root: Path,
    folder: Path,
    recipe: Recipe,
    engine: Engine,
    settings: Settings,
    tally: Tally,
    done: Callable[[int], None],
) -> None:
    """Compute the features of a task's images and seal them into shards.

    Parameters
    ----------
    task : Task
    root : Path
        The folder the task's paths start from.
    folder : Path
        The recipe's folder, where the shards go.
    recipe : Recipe
    engine : Engine
    settings : Settings
    tally : Tally
        Added to as the work proceeds, so that it is right after an interruption too.
    done : callable
        Called with the number of images that are through, after each batch.

    Raises
    ------
    BottleneckError
        A shard could not be written.

    Notes
    -----
    Whatever interrupts it, what is computed by then is sealed first.
    """
    pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="decode")
    sealer = _Sealer(folder, recipe, settings.seal_seconds, tally)
    pixels = np.zeros((settings.batch_size, recipe.image_size, recipe.image_size, 3), np.uint8)
    with pixel_limit(), contextlib.closing(sealer):
        try:
            pictures = _decode_ahead(pool, task, root, recipe, settings, tally)
            while batch := list(itertools.islice(pictures, settings.batch_size)):
                usable = [(p.digest, p.pixels) for p in batch if p.pixels is not None]
                if usable:
                    # Always the same shape: another would be traced anew, and change the last bits.
                    # The rows beyond are left from the batch before and their results thrown away.
                    for row, (_, square) in enumerate(usable):
                        pixels[row] = square
                    start = time.perf_counter()
                    features = engine.features(pixels)
                    tally.base += time.perf_counter() - start
                    sealer.add([digest for digest, _ in usable], features[: len(usable)])
                done(len(batch))
        finally:
            pool.shutdown(cancel_futures=True)


# --- read and decode


@dataclass(frozen=True)
class _Picture:
    digest: str
    pixels: NDArray[np.uint8] | None
    unreadable: dict[str, str]
    undecodable: str
    read_seconds: float
    decode_seconds: float


def _decode_ahead(
    pool: ThreadPoolExecutor,
    task: Task,
    root: Path,
    recipe: Recipe,
    settings: Settings,
    tally: Tally,
) -> Iterator[_Picture]:
    """Yield the task's pictures in order while threads prepare those that follow."""
    items = iter(task.items)
    # two batches: one for the base, one in the making
    ahead = 2 * settings.batch_size + settings.workers
    pending: deque[Future[_Picture]] = deque()
    while True:
        for item in itertools.islice(items, ahead - len(pending)):
            pending.append(pool.submit(_prepare, item, root, recipe, settings.max_pixels))
        if not pending:
            return
        start = time.perf_counter()
        picture = pending.popleft().result()
        tally.starved += time.perf_counter() - start
        tally.read += picture.read_seconds
        tally.decode += picture.decode_seconds
        tally.unreadable |= picture.unreadable
        if picture.undecodable:
            tally.undecodable[picture.digest] = picture.undecodable
        yield picture


def _prepare(item: Item, root: Path, recipe: Recipe, max_pixels: int) -> _Picture:
    started = time.perf_counter()
    data, unreadable = _read(item, root)
    read = time.perf_counter()
    pixels, undecodable = None, ""
    if data is not None:
        try:
            pixels = decode(data, recipe.image_size, recipe.fit, max_pixels)
        except UnreadableImageError as error:
            undecodable = str(error)
    decoded = time.perf_counter()
    return _Picture(item.digest, pixels, unreadable, undecodable, read - started, decoded - read)


def _read(item: Item, root: Path) -> tuple[bytes | None, dict[str, str]]:
    unreadable = {}
    for path in item.paths:
        try:
            data = read_bytes(root / path)
        except UnreadableImageError as error:
            unreadable[path] = str(error)
            continue
        if digest_of(data) == item.digest:
            return data, unreadable
        unreadable[path] = "changed since it was listed; run extract again to take it as it is now"
    return None, unreadable


# --- write


class _Sealer:
    """Gathers rows and seals them in a thread of its own, never more than one shard behind."""

    def __init__(self, folder: Path, recipe: Recipe, seconds: float, tally: Tally) -> None:
        self._folder, self._recipe, self._seconds, self._tally = folder, recipe, seconds, tally
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._writing: Future[None] | None = None
        self._restart()

    def _restart(self) -> None:
        self._digests: list[str] = []
        self._features: list[NDArray[np.float32]] = []
        self._since = time.monotonic()

    def add(self, digests: list[str], features: NDArray[np.float32]) -> None:
        self._digests += digests
        self._features.append(features)
        full = sum(part.nbytes for part in self._features) >= SHARD_BYTES
        if full or time.monotonic() - self._since >= self._seconds:
            self._seal()

    def close(self) -> None:
        """Seal what is there and wait until it is on the disk."""
        try:
            self._seal()
            self._wait()
        finally:
            self._writer.shutdown()

    def _seal(self) -> None:
        self._wait()
        if self._digests:
            self._writing = self._writer.submit(self._write, self._digests, self._features)
            self._restart()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            start = time.perf_counter()
            writing.result()
            self._tally.blocked += time.perf_counter() - start

    def _write(self, digests: list[str], features: list[NDArray[np.float32]]) -> None:
        start = time.perf_counter()
        views = np.zeros(len(digests), np.uint16)
        write_shard(self._folder, self._recipe, digests, views, np.concatenate(features))
        self._tally.write += time.perf_counter() - start
        self._tally.computed += len(digests)
