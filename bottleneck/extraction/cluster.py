"""The tasks of a plan on workers of a Dask cluster, on this machine or on others.

Dask alone decides which worker runs what, notices workers that are lost, and gives what they had to
others. What a worker does with a task is in `bottleneck.extraction.worker`.
"""

import asyncio
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import logging
import math
import queue
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck.cache.atomic import TEMPORARY
from bottleneck.cache.digests import Digests
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings, rows_per_task
from bottleneck.extraction.engine import Wanted
from bottleneck.extraction.plan import Item, Target, Task, plan_tasks
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.tally import Tally
from bottleneck.extraction.worker import (
    Job,
    Outline,
    Sight,
    build_outline,
    run_here,
    versions_here,
    why_blind,
    why_different,
)
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger("bottleneck")

# Seconds a scheduler, the first worker, or a worker that is asked what it sees may take to answer.
# They answer within milliseconds; a network that is slow takes a second or two.
_PATIENCE = 5.0

# Seconds without a sign of life after which a worker of ours is taken for lost. It gives one twice a
# second, but not while code that holds Python's lock runs: networks are built in less than this.
_LOCAL_TTL = "60s"

# Ctrl-C in a terminal reaches all processes that were started there. What it means is ours to say.
_LEAVE_INTERRUPTIONS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

# Tasks for each worker at least, where there are images enough: at the end workers wait for the last of
# them for half a task on average.
_TASKS_PER_WORKER = 8

# Batches to a task at least: its first picture is decoded and its shard sealed while the base waits.
_BATCHES_PER_TASK = 4

# Seconds in which workers that are told to stop seal what they have: a batch or two, and a shard.
_FAREWELL = 20.0

# Seconds without news after which it is worth a look whether any worker is left. News come every second.
_SILENCE = 10.0

# Pictures that are looked at for one that can be read, to ask workers for.
_PICTURES_TRIED = 8


@dataclass(frozen=True)
class Cluster:
    """Workers that are there to run tasks.

    Attributes
    ----------
    client : distributed.Client
    name : str
        What ``--cluster`` was given.
    shares : int
        Into how many parts the cores of the machine are divided among workers; 0 where that is not
        for us to do.
    """

    client: "Client"
    name: str
    shares: int = 0

    def workers(self) -> Mapping[str, Any]:
        """What the scheduler knows of each worker, by its address."""
        found: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def resources(self) -> dict[str, float] | None:
        """What a task asks for: a GPU, where any worker has one."""
        having = [worker.get("resources", {}) for worker in self.workers().values()]
        return {"GPU": 1} if any("GPU" in resources for resources in having) else None


@contextlib.contextmanager
def connect(name: str | None) -> Iterator[Cluster | None]:
    """Connect to a cluster, or start one on this machine, and see that its workers are like us.

    Parameters
    ----------
    name : str or None
        ``dask://HOST:PORT`` of a scheduler; ``local:N`` for N processes of this machine, which share
        its cores and end with the block; None for none.

    Raises
    ------
    BottleneckError
        It is neither, Dask is not installed, no scheduler answers, it has no workers, or a worker has
        other versions than this machine.
    """
    if name is None:
        yield None
        return
    kind, _, rest = name.partition(":")
    count = int(rest) if kind == "local" and rest.isdecimal() else 0
    address = rest.removeprefix("//") if kind == "dask" and rest.startswith("//") else ""
    if not count and ":" not in address:
        raise BottleneckError(
            f"--cluster takes dask://HOST:PORT or local:N with N from 1, not {name!r}"
        )
    if importlib.util.find_spec("distributed") is None:
        raise BottleneckError(
            "Dask distributed is not installed; install bottleneck-features[cluster], or leave --cluster out"
        )
    with contextlib.ExitStack() as stack:
        target: Any = stack.enter_context(_started(count)) if count else f"tcp://{address}"
        client = stack.enter_context(_client(target, name))
        cluster = Cluster(client, name, count)
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise BottleneckError(
                f"the scheduler of {name} has no workers; start some with: dask worker tcp://{address} --nthreads 1"
            ) from None
        _refuse_unfit(cluster, why_different, versions_here())
        yield cluster


@contextlib.contextmanager
def _started(count: int) -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    # No limit of memory: a conveyor's is bounded, and a worker above a limit would be paused or killed.
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": _LOCAL_TTL}),
        LocalCluster(
            count,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",  # the usual port may be taken
            silence_logs=logging.ERROR,
            preload=_LEAVE_INTERRUPTIONS,
        ) as local,
    ):
        yield local


@contextlib.contextmanager
def _client(target: Any, name: str) -> Iterator["Client"]:
    from distributed import Client

    logging.getLogger("asyncio").addFilter(_is_no_farewell)
    try:
        client = Client(target, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BottleneckError(
            f"no Dask scheduler answers at {name} ({_one_line(error)}); start one with: dask scheduler, or give its "
            "address with --cluster"
        ) from error
    with client:
        yield client


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """Drop what asyncio says of tasks of Dask's that were still waiting when their client ended."""
    return record.exc_info is None or type(record.exc_info[1]).__name__ != "AllExit"


def refuse_blind(
    cluster: Cluster, cache: Path, root: str, images: Iterable[tuple[str, str]]
) -> None:
    """Refuse a cluster with a worker that does not see the cache or the images.

    Parameters
    ----------
    cluster : Cluster
    cache : Path
    root : str
        What paths of images start from.
    images : iterable of (str, str)
        Path and digest of each.

    Raises
    ------
    BottleneckError
        The message names the worker.
    """
    with _marked(cache, root, images) as sight:
        _refuse_unfit(cluster, why_blind, sight)


@contextlib.contextmanager
def _marked(cache: Path, root: str, images: Iterable[tuple[str, str]]) -> Iterator[Sight]:
    """Put a mark into the cache; what is left of it by one that was killed goes as other such files do."""
    mark = cache.absolute() / f"{TEMPORARY}cluster-{secrets.token_hex(8)}"
    mark.touch()
    try:
        for path, digest in itertools.islice(images, _PICTURES_TRIED):
            # one that we see ourselves: then who does not see it is to blame
            with contextlib.suppress(UnreadableImageError):
                if digest_of(open_place(root).read(path)) == digest:
                    yield Sight(str(mark), root, path, digest)
                    return
        yield Sight(str(mark), root)
    finally:
        mark.unlink(missing_ok=True)


@contextlib.contextmanager
def joblib_on(cluster: Cluster | None, folder: Path) -> Iterator[None]:
    """Have joblib send to a cluster what runs in the block, and here where there is none.

    Parameters
    ----------
    cluster : Cluster or None
    folder : Path
        What its workers have to see.

    Raises
    ------
    BottleneckError
        One of them does not see it, or is lost too often.
    """
    if cluster is None:
        yield
        return
    from joblib import parallel_config

    refuse_blind(cluster, folder, "", ())
    with parallel_config("dask", client=cluster.client), _said_plainly(cluster):
        yield


def outline(cluster: Cluster, wanted: Wanted, taps: tuple[str, ...], settings: Settings) -> Outline:
    """Have the workers build the base, and take the word of the first. Nothing is loaded here.

    Raises
    ------
    BottleneckError
        It cannot be built.
    """
    from distributed import as_completed

    resources = cluster.resources()
    futures = [
        # each time anew: what a worker has built it keeps itself
        cluster.client.submit(
            build_outline,
            *(wanted, taps, settings, cluster.shares),
            pure=False,
            workers=[address],
            allow_other_workers=True,  # if this one is lost
            resources=resources,
        )
        for address, known in cluster.workers().items()
        if not resources or "GPU" in known["resources"]
    ]
    with _said_plainly(cluster):
        while True:
            with contextlib.suppress(TimeoutError):
                # those that are still at it go on, for they will need it
                first = next(iter(as_completed(futures, cluster.client.loop, timeout=_SILENCE)))
                found: Outline = first.result()
                return found
            _tell_of_no_workers(cluster)


def compute(
    cluster: Cluster,
    items: list[Item],
    root: str,
    cache: Path,
    targets: Sequence[Target],
    wanted: Wanted,
    outline: Outline,
    settings: Settings,
    tally: Tally,
    progress: Progress,
) -> None:
    """Have workers compute features of images and seal them into shards.

    Parameters
    ----------
    cluster : Cluster
    items : list of Item
    root : str
        What their paths start from.
    cache : Path
    targets : sequence of Target
    wanted : Wanted
    outline : Outline
        Of the base, up to the taps of the targets.
    settings : Settings
    tally : Tally
        Added to as tasks come to their end.
    progress : Progress

    Raises
    ------
    BottleneckError
        A worker cannot do it, a task was lost too often, or the scheduler is gone. What was sealed
        is kept.
    """
    numbers = sum(int(np.prod(shape)) for shape in outline.feature_shapes)
    row = numbers * np.dtype(targets[0].recipe.dtype).itemsize
    rows = sum(len(item.views) for item in items)
    most = rows_per_task(row, settings.batch_size)
    size = task_rows(rows, most, len(cluster.workers()), outline.batch_seconds, settings)
    named = ((path, item.digest) for item in items for path in item.paths)
    with _marked(cache, root, named) as sight:
        job = Job(
            wanted,
            outline,
            # of what is held a worker is told what its task is about, not all of it
            tuple(dataclasses.replace(target, held={}) for target in targets),
            str(cache.absolute() / "features"),
            settings,
            cluster.shares,
            sight,
            versions_here(),
            f"bottleneck-{secrets.token_hex(8)}",
        )
        _send(cluster, job, plan_tasks(items, size), targets, rows, tally, progress)


def task_rows(rows: int, most: int, workers: int, batch_seconds: float, settings: Settings) -> int:
    """Tell how many rows a task has: what is lost with a worker, and what others wait for at the end.

    A task is sealed when it is through, so it takes no longer than may pass until then. A shard is
    never larger than elsewhere, and there are several tasks for each worker where that leaves
    batches enough to each.

    Parameters
    ----------
    rows : int
        In all.
    most : int
        That fill a shard.
    workers : int
    batch_seconds : float
        What a batch takes.
    settings : Settings

    Examples
    --------
    >>> settings = Settings(batch_size=16)
    >>> task_rows(10**6, 2048, workers=3, batch_seconds=0.25, settings=settings)
    2048
    >>> task_rows(10_000, 2048, workers=3, batch_seconds=0.25, settings=settings)
    432
    >>> task_rows(10_000, 2048, workers=3, batch_seconds=6.0, settings=settings)
    160
    """
    each = math.ceil(rows / (workers * _TASKS_PER_WORKER) / settings.batch_size)
    in_time = settings.seal_seconds / batch_seconds
    batches = min(max(each, _BATCHES_PER_TASK), in_time, most // settings.batch_size)
    return max(int(batches), 1) * settings.batch_size


def _send(
    cluster: Cluster,
    job: Job,
    tasks: list[Task],
    targets: Sequence[Target],
    total: int,
    tally: Tally,
    progress: Progress,
) -> None:
    """Give tasks to Dask and take what comes back."""
    # What happens is put here by Dask's threads and looked at by ours: futures of tasks that came to
    # an end, and signs of life of those that did not.
    happened: queue.SimpleQueue[Any] = queue.SimpleQueue()
    cluster.client.subscribe_topic(job.topic, lambda event: happened.put(event[1]))
    resources = cluster.resources()
    through = dict.fromkeys(range(len(tasks)), 0)
    running: dict[str, tuple[int, Any]] = {}
    mark = Path(job.sight.mark)
    progress("extracting", 0, total)

    def take(future: Any) -> None:
        try:
            with _said_plainly(cluster):
                worker, own, whole = future.result(timeout=_SILENCE)
        except TimeoutError:
            if future.status == "error":
                raise  # it is the task's own
            # its worker was lost before it could hand this over, so it is computed again
            _tell_of_no_workers(cluster)
            future.add_done_callback(happened.put)
            return
        # once it is known here, no worker has to keep it, and none can lose it
        number, _ = running.pop(future.key)
        tally.add(own, worker)
        if not whole and mark.exists():
            raise BottleneckError(
                f"worker {worker} was told to stop by nobody: it does not see {mark} any more; run the same command "
                "again to go on"
            )
        through[number] = sum(len(item.views) for item in tasks[number].items)

    try:
        for number, task in enumerate(tasks):
            held = [_held(target, task) for target in targets]
            key = f"{job.topic}-{number}"
            future = cluster.client.submit(
                run_here, job, number, task, held, key=key, pure=False, resources=resources
            )
            running[key] = number, future
            future.add_done_callback(happened.put)
        del future
        while running:
            event = _next(happened, cluster)
            if isinstance(event, (list, tuple)):
                number, done = event
                if f"{job.topic}-{number}" in running:
                    through[number] = done
            elif event.key in running:
                take(event)
            progress("extracting", sum(through.values()), total)
    except BaseException:
        # Workers notice that the mark is gone and seal what they have.
        mark.unlink(missing_ok=True)
        until = time.monotonic() + _FAREWELL
        with contextlib.suppress(queue.Empty):
            while running:
                event = happened.get(timeout=max(until - time.monotonic(), 0))
                if not isinstance(event, (list, tuple)) and event.key in running:
                    with contextlib.suppress(BottleneckError):
                        take(event)
        raise
    finally:
        from distributed.client import ClosedClientError

        # with the scheduler gone there is nobody to tell
        with contextlib.suppress(ClosedClientError):
            cluster.client.unsubscribe_topic(job.topic)
            for _, future in running.values():
                future.release()


def _next(happened: queue.SimpleQueue[Any], cluster: Cluster) -> Any:
    """Wait for what happens next, and say so where nothing can."""
    while True:
        try:
            return happened.get(timeout=_SILENCE)
        except queue.Empty:
            _tell_of_no_workers(cluster)


def _tell_of_no_workers(cluster: Cluster) -> None:
    if not cluster.workers():
        _log.warning(
            "No worker is left at %s. Waiting for one: start it, or press Ctrl-C.", cluster.name
        )


def _held(target: Target, task: Task) -> dict[int, Digests]:
    digests = {item.digest for item in task.items}
    return {
        view: Digests.of([digest for digest in digests if digest in held])
        for view, held in target.held.items()
    }


@contextlib.contextmanager
def _said_plainly(cluster: Cluster) -> Iterator[None]:
    """Say in a line what Dask says of lost tasks and a lost scheduler."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    go_on = "what was sealed is kept; run the same command again to go on"
    try:
        yield
    except KilledWorker as error:
        raise BottleneckError(
            f"{error.allowed_failures + 1} workers of {cluster.name} were lost one after another over the same task, "
            f"the last {error.last_worker.address}; its log may say why (out of memory?); {go_on}"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise BottleneckError(f"the scheduler of {cluster.name} is gone; {go_on}") from error


def _refuse_unfit(cluster: Cluster, why: Callable[[Any], str], asked: Any) -> None:
    """Ask all workers at once, past what they have to do, whether they are fit."""
    client, workers = cluster.client, cluster.workers()

    async def ask() -> list[Any]:
        async def one(address: str) -> Any:
            try:
                answer: Any = client.run(why, asked, workers=[address], on_error="return")
                return (await asyncio.wait_for(answer, _PATIENCE)).get(address, TimeoutError())
            except (OSError, TimeoutError):
                return TimeoutError()

        return await asyncio.gather(*map(one, workers))

    for (address, known), answer in zip(workers.items(), client.sync(ask), strict=True):
        name = f"worker {known['name']}"
        if str(known["name"]) != address:
            name += f" ({address})"
        if isinstance(answer, (TimeoutError, OSError)):
            # Dask takes it for lost when it has been silent for long enough
            _log.warning("%s does not answer; the others go on without it.", name)
        elif isinstance(answer, Exception):
            # Dask says no more of a function that cannot be loaded there
            version = dict(versions_here())["bottleneck"]
            raise BottleneckError(
                f"{name} has no bottleneck, or another version of it than {version} ({_one_line(answer)}); install "
                f"bottleneck-features {version} there"
            )
        elif answer:
            raise BottleneckError(f"{name} {answer}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
