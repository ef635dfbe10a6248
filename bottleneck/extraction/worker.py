"""What a worker of a cluster does with a task, and what it has to be and to see to do it."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import math
import os
import pickle
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottleneck.bases.weights import find_weights
from bottleneck.cache.atomic import TEMPORARY
from bottleneck.cache.digests import Digests
from bottleneck.cache.mirror import local_folder, send_shards
from bottleneck.cache.recipe import QUANTISED, Recipe
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.engines.protocol import BuiltBase, Engine, EngineName
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.plan import Target, Task
from bottleneck.extraction.request import FeatureRequest, check_weights
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place
from bottleneck.remote import GoneError, Object, Remote, RemoteError, is_url

if TYPE_CHECKING:
    from distributed import Worker

# Seconds between two signs of a worker, which go through the scheduler.
_BETWEEN_SIGNS = 1.0

# Seconds between two looks for a mark on a file system. Together with a batch and a shard it has to fit into
# the second that an interrupted command waits.
_BETWEEN_LOOKS = 0.3

# Seconds between two looks for a mark behind a URL: a request each, for which the base waits.
_BETWEEN_REQUESTS = 5.0

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
class AccessCheck:
    """Access check: a file beside the features and an image that a worker has to see.

    Attributes
    ----------
    mark : str
        A file in the cache, by its path or URL. Who removes it tells the workers to seal what they have,
        and to stop.
    root, path, digest : str
        A picture; `root` is empty where none is needed.
    written : bool
        Whether it has to be able to write beside it.
    """

    mark: str
    root: str = ""
    path: str = ""
    digest: str = ""
    written: bool = True


@dataclass(frozen=True)
class Job:
    """What the tasks of an extraction have in common."""

    wanted: FeatureRequest
    outline: Outline
    targets: tuple[Target, ...]
    cache: str
    settings: Settings
    shares: int
    access: AccessCheck
    topic: str


@dataclass(frozen=True)
class Done:
    """What a worker did with a task.

    Attributes
    ----------
    worker : str
    tally : ExtractionStatistics
    whole : bool
        Whether that was all of it.
    sent : dict of str to Object
        Shards it sent to a cache behind a URL.
    """

    worker: str
    tally: ExtractionStatistics
    whole: bool
    sent: Mapping[str, Object] = field(default_factory=dict)


# Hexadecimal digits of a digest of code: 48 bits tell any two checkouts apart and can be read aloud.
_CODE_DIGITS = 12

# What `versions_here` calls the digest of the package's source.
_CODE = "code of bottleneck"


@cache
def versions_here() -> tuple[tuple[str, str], ...]:
    """Return the versions that features depend on, and a digest of the package's code.

    Computed once in a process: a long-running worker reports the code it loaded, even if the files are
    replaced later.
    """
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    # of the code that runs here, wherever it was found; what is installed may be something else
    package = sys.modules["bottleneck"]
    found["bottleneck"] = package.__version__
    found[_CODE] = code_digest(Path(str(package.__file__)).parent)
    for name in _SAME:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return tuple(found.items())


def code_digest(package: Path) -> str:
    """Return a short digest of a package's Python files: names and contents.

    Two checkouts of the same version may differ in what they compute.
    """
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        source = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:_CODE_DIGITS]


def find_version_problem(versions: tuple[tuple[str, str], ...]) -> str:
    """Return which versions differ here; empty if none."""
    here = dict(versions_here())
    if here["bottleneck"] != dict(versions)["bottleneck"]:
        # another version has other code; its digest says nothing more
        versions = tuple(pair for pair in versions if pair[0] != _CODE)
    different = [
        f"{name} {here.get(name)} (here {version})"
        for name, version in versions
        if here.get(name) != version
    ]
    if not different:
        return ""
    return f"has {', '.join(different)}; install the same versions and code there as here"


@lru_cache(maxsize=1)
def find_access_problem(access: AccessCheck) -> str:
    """Return what this worker cannot access; empty if nothing."""
    find_out = _find_url_problem if is_url(access.mark) else _find_folder_problem
    if unseen := find_out(access.mark, access.written):
        return unseen
    if access.path:
        try:
            data = open_place(access.root).read(access.path)
        except (UnreadableImageError, BottleneckError) as error:
            return (
                f"does not see the images in {access.root}: of {access.path!r} it says {error}; make it reach them "
                "under the same path"
            )
        if digest_of(data) != access.digest:
            return f"sees another image {access.path!r} in {access.root}; make it reach the same images under this path"
    return ""


def report_worker_check(
    versions: tuple[tuple[str, str], ...], access: AccessCheck, topic: str
) -> None:
    """Report the result of the checks as an event: a problem, or an empty string.

    An event needs nobody to come for it, as a result does, from a worker that may be gone by then.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(
        topic, (worker.address, find_version_problem(versions) or find_access_problem(access))
    )


def _find_folder_problem(mark: str, written: bool) -> str:
    folder = Path(mark).parent
    if not os.path.exists(mark):  # noqa: PTH110 - what may not be looked at is not seen either
        return f"does not see {folder}; make it reach that folder under the same path"
    if written and not os.access(folder, os.W_OK):
        return f"may not write to {folder}; give it the right to, or start it as another user"
    return ""


def _find_url_problem(mark: str, written: bool) -> str:
    url, _, name = mark.rpartition("/")
    try:
        place = Remote(url)
        place.look(name)
        if written:
            mine = f"{TEMPORARY}{secrets.token_hex(8)}"
            place.write(b"", mine)
            place.remove(mine)
    except GoneError:
        return (
            f"sees another store at {url}; give it the same environment (AWS_…, FSSPEC_…) as here"
        )
    except BottleneckError as error:
        return f"cannot {'write to' if written else 'read'} the cache: {error}"
    return ""


def is_marked(mark: str) -> bool:
    """Whether a mark is there still. A store that does not answer is not taken for one that says no."""
    if not is_url(mark):
        return Path(mark).exists()
    url, _, name = mark.rpartition("/")
    try:
        Remote(url).look(name)
    except GoneError:
        return False
    except RemoteError:
        return True
    return True


# The network that was built last is kept, and a conveyor uses all the cores there are: a worker with
# several threads takes one task after another all the same.
_one_at_a_time = threading.Lock()


def build_outline(
    versions: tuple[tuple[str, str], ...],
    wanted: FeatureRequest,
    taps: tuple[str, ...],
    settings: Settings,
    shares: int,
    cache: str,
) -> Outline | str:
    """Build the base, which is kept for the tasks to come, and tell what it is like.

    Returns why not where this worker has other versions: it may have joined after all were checked.
    """
    if problem := find_version_problem(versions):
        from distributed import get_worker

        return f"worker {get_worker().name} {problem}"
    from bottleneck.bases.backend import load_keras

    with _one_at_a_time:
        _take_share(shares)
        network = _build(wanted, taps, cache)
        engine = start_engine(network, settings.engine, settings.batch_size)
        seconds = _batch_seconds(network, settings.engine, engine.batch_size, wanted.image_size)
        return Outline(
            network.weights_digest,
            network.taps,
            network.feature_shapes,
            engine.name,
            load_keras().backend.backend(),
            seconds,
        )


@lru_cache(maxsize=1)
def _batch_seconds(network: BuiltBase, name: EngineName, batch_size: int, image_size: int) -> float:
    engine = start_engine(network, name, batch_size)
    pixels = np.zeros((batch_size, image_size, image_size, 3), np.uint8)
    engine.features(pixels)
    started = time.perf_counter()
    for _ in range(_TIMED_BATCHES):
        engine.features(pixels)
    return (time.perf_counter() - started) / _TIMED_BATCHES


class _StoppedError(Exception):
    """The mark is gone."""


def run_here(job: Job, number: int, task: Task, held: list[dict[int, Digests]]) -> None:
    """Run a task, and say what was done of it."""
    from distributed import get_worker

    worker = get_worker()
    done = _run_here(worker, job, number, task, held)
    worker.log_event(job.topic, (number, pickle.dumps(done)))


def _run_here(
    worker: "Worker", job: Job, number: int, task: Task, held: list[dict[int, Digests]]
) -> Done:
    name, tally, mark = str(worker.name), ExtractionStatistics(), job.access.mark
    between = _BETWEEN_REQUESTS if is_url(mark) else _BETWEEN_LOOKS
    with _one_at_a_time:
        if not is_marked(mark):
            return Done(name, tally, whole=False)
        _take_share(job.shares)
        engine = _engine(job, name)
        tally.engine = engine.name
        said = looked = time.monotonic()
        through = 0

        def done(views: int) -> None:
            nonlocal said, looked, through
            through += views
            now = time.monotonic()
            if now - said >= _BETWEEN_SIGNS:
                said = now
                worker.log_event(job.topic, (number, through))
            if now - looked >= between:
                looked = now
                if not is_marked(mark):
                    raise _StoppedError

        targets = [
            dataclasses.replace(target, cached=own)
            for target, own in zip(job.targets, held, strict=True)
        ]
        sent: dict[str, Object] = {}
        whole = False
        with (
            contextlib.suppress(_StoppedError),
            _sealed(job, name, worker.local_directory, sent) as features,
        ):
            run_task(
                task,
                root=job.access.root,
                features=features,
                targets=targets,
                start=lambda: engine,
                # sealed once, when it is through: run twice, it leaves the same file
                settings=dataclasses.replace(job.settings, workers=_cores(), seal_seconds=math.inf),
                tally=tally,
                done=done,
            )
            whole = True
        return Done(name, tally, whole, sent)


@contextlib.contextmanager
def _sealed(job: Job, worker: str, scratch: str, sent: dict[str, Object]) -> Iterator[Path]:
    """Give the folder to seal a task's shards in; where the cache is behind a URL they are sent there at the end."""
    if not is_url(job.cache):
        yield Path(job.cache, "features")
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        features = Path(folder, "features")
        for target in job.targets:
            (features / target.recipe.id).mkdir(parents=True)
        try:
            yield features
        finally:
            try:
                sent |= send_shards(Path(folder), job.cache)
            except RemoteError as error:
                raise BottleneckError(
                    f"worker {worker} could not send what it computed: {error}; what was sent before is kept, and the "
                    "same command goes on with it"
                ) from error


def _engine(job: Job, worker: str) -> Engine:
    """Give what runs the base, built by the first task of this process and kept for the others."""
    from bottleneck.bases.backend import load_keras

    network = _build(job.wanted, job.outline.taps, job.cache)
    recipe: Recipe = job.targets[0].recipe
    check_weights(network.weights_digest, recipe, job.wanted.weights)
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


def _build(wanted: FeatureRequest, taps: tuple[str, ...], cache: str) -> BuiltBase:
    if wanted.quantised and is_url(cache):
        graph = _graph_here(cache, Path(wanted.weights.name).name)
        wanted = dataclasses.replace(wanted, weights=find_weights(graph))
    file = wanted.base.file or (wanted.weights.name if wanted.weights.kind == "file" else None)
    if file is not None and not Path(file).is_file():
        raise BottleneckError(
            f"a worker does not see the weights {file}; put them where all workers reach them under the same path, "
            "and give that with --weights or --base"
        )
    return wanted.build(taps)


@lru_cache(maxsize=1)
def _graph_here(cache: str, name: str) -> str:
    """Have a quantised graph in the mirror that this machine has of a cache, and tell where."""
    return str(local_folder(cache) / QUANTISED / name)


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
