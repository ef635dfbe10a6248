"""Read → decode → base → write, all at once and all bounded.

Threads read and decode ahead; the calling thread makes batches of what they give, which others run
through the base, as many at once as the engine takes; one more thread seals shards. What each may run
ahead is limited, so memory does not grow with the image set.
"""

import contextlib
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import PLAIN
from bottleneck.cache.shard import SHARD_BYTES
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engine import ENGINES, Engine, EngineName, openvino_installed
from bottleneck.extraction.plan import Item, Target, Task
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.sealer import Key, Sealer
from bottleneck.extraction.tally import Tally
from bottleneck.images.augment import make_view, parse_augmentation
from bottleneck.images.decode import MAX_PIXELS, UnreadableImageError, decode, pixel_limit
from bottleneck.images.place import Place, open_place

# Images to a batch. On two CPU cores the rate does not depend on it between 8 and 32; a small one
# wastes less on the padding of the last.
BATCH_SIZE = 16

# Seconds after which a shard is sealed even if it is small: what a crash can cost.
SEAL_SECONDS = 60.0


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
    engine : {"auto", "keras", "openvino"}
        What runs the base, see `bottleneck.extraction.engine.start_engine`.

    Raises
    ------
    BottleneckError
        One of them is too small, or there is no such engine here.
    """

    batch_size: int = BATCH_SIZE
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_pixels: int = MAX_PIXELS
    seal_seconds: float = SEAL_SECONDS
    engine: EngineName = "auto"

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "workers": 1, "max_pixels": 1, "seal_seconds": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value < minimum:
                raise BottleneckError(f"{name} takes a number from {minimum}, not {value}")
        if self.engine not in ENGINES:
            raise BottleneckError(
                f"unknown value {self.engine!r} for --engine: {', '.join(ENGINES)}"
            )
        if self.engine == "openvino" and not openvino_installed():
            raise BottleneckError(
                "OpenVINO is not installed; install bottleneck-features[openvino], or leave --engine out"
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


def run_task(
    task: Task,
    *,
    root: str,
    features: Path,
    targets: Sequence[Target],
    engine: Engine,
    settings: Settings,
    tally: Tally,
    done: Callable[[int], None],
) -> None:
    """Compute features of a task's images and seal them into shards.

    Parameters
    ----------
    task : Task
    root : str
        What the task's paths start from.
    features : Path
        The folder of the recipes' folders, where the shards go.
    targets : sequence of Target
        What to compute. Their recipes differ in tap and augmentation at most, and the base is run
        once for all of them.
    engine : Engine
    settings : Settings
    tally : Tally
        Added to as the work proceeds, so that it is right after an interruption too.
    done : callable
        Called with the number of views that are through, after each batch.

    Raises
    ------
    BottleneckError
        A shard could not be written, or features are not numbers that the recipe's type can hold.

    Notes
    -----
    Whatever interrupts it, what is computed by then is sealed first.
    """
    decoders = ThreadPoolExecutor(settings.workers, thread_name_prefix="decode")
    runners = ThreadPoolExecutor(engine.in_flight, thread_name_prefix="base")
    sealer = Sealer(features, targets, engine.taps, settings.seal_seconds, tally)
    size = targets[0].recipe.image_size
    shape = (settings.batch_size, size, size, 3)
    spare: list[NDArray[np.uint8]] = []
    running: deque[_Running] = deque()

    def receive() -> None:
        """Take what the batch that has run longest gives; so results come in order."""
        batch = running.popleft()
        start = time.perf_counter()
        outputs, began, ended = batch.result.result()
        tally.awaited += time.perf_counter() - start
        tally.ran(began, ended)
        spare.append(batch.pixels)
        sealer.add(batch.keys, outputs)
        done(batch.views)

    with pixel_limit(), contextlib.closing(sealer):
        try:
            pictures = _decode_ahead(decoders, task, open_place(root), targets, settings, tally)
            views = itertools.chain.from_iterable(map(_views_of, pictures))
            while batch := list(itertools.islice(views, settings.batch_size)):
                usable = [(key, square) for key, square in batch if square is not None]
                if not usable:
                    done(len(batch))
                    continue
                # Always the same shape: another would be traced anew, and change the last bits. The
                # rows beyond are left from a batch before and their results thrown away.
                pixels = spare.pop() if spare else np.zeros(shape, np.uint8)
                for row, (_, square) in enumerate(usable):
                    pixels[row] = square
                # one more than run at once, so that whoever is through has the next to go on with
                if len(running) > engine.in_flight:
                    receive()
                result = runners.submit(_run, engine, pixels)
                running.append(_Running([key for key, _ in usable], len(batch), pixels, result))
            while running:
                receive()
        finally:
            decoders.shutdown(cancel_futures=True)
            runners.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Running:
    """A batch the base has in hand."""

    keys: list[Key]
    views: int
    pixels: NDArray[np.uint8]
    result: Future[tuple[tuple[NDArray[np.float32], ...], float, float]]


def _run(
    engine: Engine, pixels: NDArray[np.uint8]
) -> tuple[tuple[NDArray[np.float32], ...], float, float]:
    began = time.perf_counter()
    outputs = engine.features(pixels)
    return outputs, began, time.perf_counter()


# --- read and decode


@dataclass(frozen=True)
class _Picture:
    item: Item
    # for each view of the item; None where it cannot be used
    pixels: list[NDArray[np.uint8]] | None
    unreadable: dict[str, str]
    undecodable: str
    read_seconds: float
    decode_seconds: float


def _views_of(picture: _Picture) -> list[tuple[Key, NDArray[np.uint8] | None]]:
    item = picture.item
    squares: Sequence[NDArray[np.uint8] | None] = picture.pixels or [None] * len(item.views)
    keys = (Key(item.digest, view, item.paths[0]) for view in item.views)
    return list(zip(keys, squares, strict=True))


def _decode_ahead(
    pool: ThreadPoolExecutor,
    task: Task,
    place: Place,
    targets: Sequence[Target],
    settings: Settings,
    tally: Tally,
) -> Iterator[_Picture]:
    """Yield the task's pictures in order while threads prepare those that follow."""
    recipe = targets[0].recipe
    told = {target.recipe.augmentation for target in targets} - {PLAIN}
    augmentation = parse_augmentation(told.pop() if told else PLAIN)

    def prepare(item: Item) -> _Picture:
        started = time.perf_counter()
        data, unreadable = _read(item, place)
        read = time.perf_counter()
        pixels, undecodable = None, ""
        if data is not None:
            try:
                plain = decode(data, recipe.image_size, recipe.fit, settings.max_pixels)
                pixels = [make_view(plain, augmentation, item.digest, view) for view in item.views]
            except UnreadableImageError as error:
                undecodable = str(error)
        decoded = time.perf_counter()
        return _Picture(item, pixels, unreadable, undecodable, read - started, decoded - read)

    items = iter(task.items)
    # two batches of views: one for the base, one in the making
    most = max(len(item.views) for item in task.items)
    ahead = math.ceil(2 * settings.batch_size / most) + settings.workers
    pending: deque[Future[_Picture]] = deque()
    while True:
        for item in itertools.islice(items, ahead - len(pending)):
            pending.append(pool.submit(prepare, item))
        if not pending:
            return
        start = time.perf_counter()
        picture = pending.popleft().result()
        tally.starved += time.perf_counter() - start
        tally.read += picture.read_seconds
        tally.decode += picture.decode_seconds
        tally.unreadable |= picture.unreadable
        if picture.undecodable:
            tally.undecodable[picture.item.digest] = picture.undecodable
        yield picture


def _read(item: Item, place: Place) -> tuple[bytes | None, dict[str, str]]:
    unreadable = {}
    for path in item.paths:
        try:
            data = place.read(path)
        except UnreadableImageError as error:
            unreadable[path] = str(error)
            continue
        if digest_of(data) == item.digest:
            return data, unreadable
        unreadable[path] = "changed since it was listed; run extract again to take it as it is now"
    return None, unreadable
