"""What a worker of a cluster does with a task, and what it has to be and to see to do it."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from bottleneck.bases.network import Network
from bottleneck.cache.digests import Digests
from bottleneck.cache.recipe import Recipe
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.engine import (
    Engine,
    EngineName,
    Wanted,
    refuse_other_weights,
    start_engine,
)
from bottleneck.extraction.plan import Target, Task
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.tally import Tally
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place

# Seconds between two signs of a worker, which go through the scheduler.
_BETWEEN_SIGNS = 1.0

# Batches whose time tells how fast a worker is; before them one more, which is always slower.
_TIMED_BATCHES = 2

# What determines features or how they are stored, besides what recipes say; and what is sent around.
_SAME = ("keras", "tensorflow", "openvino", "numpy", "pillow", "h5py", "distributed")


@dataclass(frozen=True)
class Outline:
    """What a worker found when it built the base: all that a plan needs of it.

    Attributes
    ----------
    weights_digest : str
    taps : tuple of str
    feature_shapes : tuple of tuple of int
        Of one image, for each tap.
    engine : str
        What runs the base there.
    backend : str
        What Keras runs on there.
    batch_seconds : float
        What a batch takes.
    """

    weights_digest: str
    taps: tuple[str, ...]
    feature_shapes: tuple[tuple[int, ...], ...]
    engine: str
    backend: str
    batch_seconds: float


@dataclass(frozen=True)
class Sight:
    """What a worker has to see: a file of ours beside the features, and a picture.

    Attributes
    ----------
    mark : str
        A file in the cache. Who removes it tells the workers to seal what they have, and to stop.
    root, path, digest : str
        A picture; `root` is empty where none is needed.
    """

    mark: str
    root: str = ""
    path: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Job:
    """What the tasks of an extraction have in common."""

    wanted: Wanted
    outline: Outline
    targets: tuple[Target, ...]
    features: str
    settings: Settings
    shares: int
    sight: Sight
    versions: tuple[tuple[str, str], ...]
    topic: str


@cache
def versions_here() -> tuple[tuple[str, str], ...]:
    """Tell which versions features depend on are installed here."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    # of the code that runs here, wherever it was found; what is installed may be something else
    found["bottleneck"] = sys.modules["bottleneck"].__version__
    for name in _SAME:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return tuple(found.items())


def why_different(versions: tuple[tuple[str, str], ...]) -> str:
    """Tell what is different here; nothing where all is the same."""
    here = dict(versions_here())
    different = [
        f"{name} {here.get(name)} (here {version})"
        for name, version in versions
        if here.get(name) != version
    ]
    if not different:
        return ""
    return f"has {', '.join(different)}; install the same versions there as here"


@lru_cache(maxsize=1)
def why_blind(sight: Sight) -> str:
    """Tell what cannot be seen from here; nothing where all can."""
    mark = Path(sight.mark)
    if not os.path.exists(mark):  # noqa: PTH110 - what may not be looked at is not seen either
        return f"does not see {mark.parent}; make it reach that folder under the same path"
    if not os.access(mark.parent, os.W_OK):
        return f"may not write to {mark.parent}; give it the right to, or start it as another user"
    if sight.path:
        try:
            data = open_place(sight.root).read(sight.path)
        except (UnreadableImageError, BottleneckError) as error:
            return (
                f"does not see the images in {sight.root}: of {sight.path!r} it says {error}; make it reach them under "
                "the same path"
            )
        if digest_of(data) != sight.digest:
            return f"sees another picture {sight.path!r} in {sight.root}; make it reach the same images under this path"
    return ""


# The network that was built last is kept, and a conveyor uses all the cores there are: a worker with
# several threads takes one task after another all the same.
_one_at_a_time = threading.Lock()


def build_outline(
    wanted: Wanted, taps: tuple[str, ...], settings: Settings, shares: int
) -> Outline:
    """Build the base, which is kept for the tasks to come, and tell what it is like."""
    from bottleneck.bases.backend import load_keras

    with _one_at_a_time:
        _take_share(shares)
        network = _build(wanted, taps)
        engine = start_engine(network, settings.engine, settings.batch_size)
        seconds = _batch_seconds(network, settings.engine, settings.batch_size, wanted.image_size)
        return Outline(
            network.weights_digest,
            network.taps,
            network.feature_shapes,
            engine.name,
            load_keras().backend.backend(),
            seconds,
        )


@lru_cache(maxsize=1)
def _batch_seconds(network: Network, name: EngineName, batch_size: int, image_size: int) -> float:
    engine = start_engine(network, name, batch_size)
    pixels = np.zeros((batch_size, image_size, image_size, 3), np.uint8)
    engine.features(pixels)
    started = time.perf_counter()
    for _ in range(_TIMED_BATCHES):
        engine.features(pixels)
    return (time.perf_counter() - started) / _TIMED_BATCHES


class _StoppedError(Exception):
    """The mark is gone."""


def run_here(
    job: Job, number: int, task: Task, held: list[dict[int, Digests]]
) -> tuple[str, Tally, bool]:
    """Run a task; tell who did, what was done, and whether that was all of it."""
    from distributed import get_worker

    worker = get_worker()
    tally = Tally()
    mark = Path(job.sight.mark)
    with _one_at_a_time:
        # a worker may have come after the others were asked
        for reason in (why_different(job.versions), why_blind(job.sight)):
            if reason:
                raise BottleneckError(f"worker {worker.name} {reason}")
        if not mark.exists():
            return str(worker.name), tally, False
        _take_share(job.shares)
        engine = _engine(job, str(worker.name))
        tally.engine = engine.name
        said, through = time.monotonic(), 0

        def done(views: int) -> None:
            nonlocal said, through
            through += views
            if time.monotonic() - said >= _BETWEEN_SIGNS:
                said = time.monotonic()
                worker.log_event(job.topic, (number, through))
                if not mark.exists():
                    raise _StoppedError

        targets = [
            dataclasses.replace(target, held=own)
            for target, own in zip(job.targets, held, strict=True)
        ]
        try:
            run_task(
                task,
                root=job.sight.root,
                features=Path(job.features),
                targets=targets,
                engine=engine,
                # sealed once, when it is through: run twice, it leaves the same file
                settings=dataclasses.replace(job.settings, workers=_cores(), seal_seconds=math.inf),
                tally=tally,
                done=done,
            )
        except _StoppedError:
            return str(worker.name), tally, False
        return str(worker.name), tally, True


def _engine(job: Job, worker: str) -> Engine:
    """Give what runs the base, built by the first task of this process and kept for the others."""
    from bottleneck.bases.backend import load_keras

    network = _build(job.wanted, job.outline.taps)
    recipe: Recipe = job.targets[0].recipe
    refuse_other_weights(network.weights_digest, recipe, job.wanted.weights)
    engine = start_engine(network, job.settings.engine, job.settings.batch_size)
    here, there = (
        (engine.name, load_keras().backend.backend()),
        (job.outline.engine, job.outline.backend),
    )
    if here != there:
        raise BottleneckError(
            f"worker {worker} runs the base by {' on '.join(here)} and another by {' on '.join(there)}, which differ "
            "in the last digits; give one of them with --engine, or the same KERAS_BACKEND to all workers"
        )
    return engine


def _build(wanted: Wanted, taps: tuple[str, ...]) -> Network:
    file = wanted.base.file or (wanted.weights.name if wanted.weights.kind == "file" else None)
    if file is not None and not Path(file).is_file():
        raise BottleneckError(
            f"a worker does not see the weights {file}; put them where all workers reach them under the same path, "
            "and give that with --weights or --base"
        )
    return wanted.build(taps)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _all_cores() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


def _take_share(shares: int) -> None:
    """Keep to a part of the cores, as do all threads that are started from here on."""
    if not shares or not hasattr(os, "sched_setaffinity"):
        return
    from distributed import get_worker

    cores, number = _all_cores(), int(get_worker().name) % shares
    first, after = number * len(cores) // shares, (number + 1) * len(cores) // shares
    os.sched_setaffinity(0, cores[first:after] or (cores[number % len(cores)],))
