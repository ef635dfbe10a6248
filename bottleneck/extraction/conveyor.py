"""Read → decode → base → write, all at once and all bounded.

Threads read and decode ahead, more of them reading than decoding; the calling thread makes batches of
what they give, which others run through the base, as many at once as the engine takes; one more thread
seals shards. What each may run ahead is limited, so memory does not grow with the image set.
"""

import contextlib
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import PLAIN
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.protocol import (
    BATCH_SIZE,
    ENGINES,
    Engine,
    EngineName,
    openvino_installed,
)
from bottleneck.extraction.plan import Item, Target, Task
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.sealer import Key, Sealer
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.images.augment import make_view, parse_augmentation
from bottleneck.images.decode import MAX_PIXELS, UnreadableImageError, decode, pixel_limit
from bottleneck.images.place import Place, open_place
from bottleneck.remote import REQUESTS, request_threads

# Seconds after which a shard is sealed even if it is small: what a crash can cost.
SEAL_SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """How the conveyor runs. Nothing in here changes a feature beyond its last bits.

    Attributes
    ----------
    batch_size : int or None
        Images to a batch; None for what suits the device, see `bottleneck.extraction.engines.start.start_engine`.
    workers : int
        Pictures decoded at the same time; more than that are read.
    max_pixels : int
        Pictures with more pixels are refused.
    seal_seconds : float
        A shard is sealed at least this often.
    engine : {"auto", "keras", "openvino"}
        What runs the base, see `bottleneck.extraction.engines.start.start_engine`.

    Raises
    ------
    BottleneckError
        One of them is too small, or there is no such engine here.
    """

    batch_size: int | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_pixels: int = MAX_PIXELS
    seal_seconds: float = SEAL_SECONDS
    engine: EngineName = "auto"

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "workers": 1, "max_pixels": 1, "seal_seconds": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise BottleneckError(f"{name} takes a number from {minimum}, not {value}")
        if self.engine not in ENGINES:
            raise BottleneckError(
                f"unknown value {self.engine!r} for --engine: {', '.join(ENGINES)}"
            )
        if self.engine == "openvino" and not openvino_installed():
            raise BottleneckError(
                "OpenVINO is not installed; install bottleneck-features[openvino], or leave --engine out"
            )


def run_task(
    task: Task,
    *,
    root: str,
    features: Path,
    targets: Sequence[Target],
    start: Callable[[], Engine],
    settings: Settings,
    tally: ExtractionStatistics,
    done: Callable[[int], None],
) -> None:
    """Compute features of a task's images and seal them into shards.

    A file is read once: one that was not read before is hashed here, and decoded only if its features
    are lacking. So whether there is anything for a base to do shows on the way.

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
    start : callable
        Gives what runs the base; called when there is a picture for it.
    settings : Settings
    tally : ExtractionStatistics
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
    # What hides the latency of an object store hides that of a slow disk. Where nothing holds reading up, few
    # of these threads are ever at work.
    with pixel_limit(), request_threads(max(settings.workers, REQUESTS), "read") as readers:
        views = _views_ahead(readers, task, open_place(root), targets, settings, tally, done)
        first = next(views, None)
        if first is not None:
            engine = start()
            sealer = Sealer(features, targets, engine.taps, settings.seal_seconds, tally)
            with contextlib.closing(sealer):
                whole = itertools.chain([first], views)
                _run_batches(whole, engine, sealer, tally, done)


_Square = NDArray[np.uint8]


def _run_batches(
    views: Iterator[tuple[Key, _Square]],
    engine: Engine,
    sealer: Sealer,
    tally: ExtractionStatistics,
    done: Callable[[int], None],
) -> None:
    """Run batches through the base, as many at once as the engine takes."""
    runners = ThreadPoolExecutor(engine.in_flight, thread_name_prefix="base")
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
        done(len(batch.keys))

    try:
        while batch := list(itertools.islice(views, engine.batch_size)):
            # Always the same shape: another would be traced anew, and change the last bits. The
            # rows beyond are left from a batch before and their results thrown away.
            shape = (engine.batch_size, *batch[0][1].shape)
            pixels = spare.pop() if spare else np.zeros(shape, np.uint8)
            for row, (_, square) in enumerate(batch):
                pixels[row] = square
            # one more than run at once, so that whoever is through has the next to go on with
            if len(running) > engine.in_flight:
                receive()
            result = runners.submit(_run, engine, pixels)
            running.append(_Running([key for key, _ in batch], pixels, result))
        while running:
            receive()
    finally:
        runners.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Running:
    """A batch the base has in hand."""

    keys: list[Key]
    pixels: NDArray[np.uint8]
    result: Future[tuple[tuple[NDArray[np.float32], ...], float, float]]


def _run(
    engine: Engine, pixels: NDArray[np.uint8]
) -> tuple[tuple[NDArray[np.float32], ...], float, float]:
    began = time.perf_counter()
    outputs = engine.features(pixels)
    return outputs, began, time.perf_counter()


# --- read, hash and decode


@dataclass(frozen=True)
class _Picture:
    """What a thread made of an item: pixels of the views it turned out to lack, or why there are none."""

    digest: str = ""
    views: tuple[int, ...] = ()
    squares: Sequence[_Square] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    undecodable: str = ""
    read_seconds: float = 0.0
    decode_seconds: float = 0.0


def _views_ahead(
    pool: ThreadPoolExecutor,
    task: Task,
    place: Place,
    targets: Sequence[Target],
    settings: Settings,
    tally: ExtractionStatistics,
    done: Callable[[int], None],
) -> Iterator[tuple[Key, _Square]]:
    """Yield what there is to compute of the task, in its order, while threads prepare what follows."""
    recipe = targets[0].recipe
    told = {target.recipe.augmentation for target in targets} - {PLAIN}
    augmentation = parse_augmentation(told.pop() if told else PLAIN)
    # Digests of the pictures that have passed. Only here is their order certain; a thread that looks in
    # too early decodes one for nothing.
    passed: set[bytes] = set()
    cores = Semaphore(settings.workers)

    def prepare(item: Item) -> _Picture:
        started = time.perf_counter()
        data, digest, unreadable = _read(item, place)
        read_seconds = time.perf_counter() - started
        if data is None:
            return _Picture(unreadable=unreadable, read_seconds=read_seconds)
        views, squares, undecodable = item.views, [], ""
        if not item.digest:
            views = tuple(
                view for view in views if any(t.is_missing(digest, view) for t in targets)
            )
        with cores:
            started = time.perf_counter()
            if views and bytes.fromhex(digest) not in passed:
                try:
                    plain = decode(data, recipe.image_size, recipe.fit, settings.max_pixels)
                    squares = [make_view(plain, augmentation, digest, view) for view in views]
                except UnreadableImageError as error:
                    undecodable = str(error)
            seconds = read_seconds, time.perf_counter() - started
        return _Picture(digest, views, squares, unreadable, undecodable, *seconds)

    items = iter(task.items)
    # two batches of views: one for the base, one in the making; of larger ones as many as keep threads at work
    most = len({view for target in targets for view in target.views})
    ahead = math.ceil(2 * (settings.batch_size or BATCH_SIZE) / most) + settings.workers
    pending: deque[tuple[Item, Future[_Picture]]] = deque()
    while True:
        for item in itertools.islice(items, ahead - len(pending)):
            pending.append((item, pool.submit(prepare, item)))
        if not pending:
            return
        start = time.perf_counter()
        item, future = pending.popleft()
        picture = future.result()
        tally.starved += time.perf_counter() - start
        tally.read += picture.read_seconds
        tally.decode += picture.decode_seconds
        tally.unreadable |= picture.unreadable
        digest = bytes.fromhex(picture.digest)  # half the memory
        if not item.digest:
            tally.digests.append(digest)
        if picture.undecodable:
            tally.undecodable[picture.digest] = picture.undecodable
        squares = () if digest in passed else picture.squares
        if squares:
            passed.add(digest)
        for view, square in zip(picture.views, squares, strict=False):
            yield Key(picture.digest, view, item.paths[0]), square
        if len(squares) < len(item.views):
            done(len(item.views) - len(squares))


def _read(item: Item, place: Place) -> tuple[bytes | None, str, dict[str, str]]:
    """Read an item by the first of its paths that leads to its bytes."""
    unreadable = {}
    for path in item.paths:
        try:
            data = place.read(path, item.size)
        except UnreadableImageError as error:
            unreadable[path] = str(error)
            continue
        digest = digest_of(data)
        if digest == item.digest or not item.digest:
            return data, digest, unreadable
        unreadable[path] = "changed since it was listed; run extract again to take it as it is now"
    return None, "", unreadable
