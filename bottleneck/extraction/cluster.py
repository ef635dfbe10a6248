"""Workers of a Dask cluster, on this machine or on others: to reach them, and to see that they are fit.

What they are given to do is in `bottleneck.extraction.dispatch`, what they do with it in
`bottleneck.extraction.worker`.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottleneck.cache.atomic import TEMPORARY
from bottleneck.cache.listing import FILE_NAME as LISTING
from bottleneck.cache.location import location_of
from bottleneck.errors import BottleneckError, one_line
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.request import FeatureRequest
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.waiting import WaitMonitor, find_problem, problems_logged
from bottleneck.extraction.worker import (
    AccessCheck,
    Outline,
    build_outline,
    find_access_problem,
    find_version_problem,
    versions_here,
)
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place
from bottleneck.remote import Remote, is_url

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger("bottleneck")

# Seconds a scheduler or the first worker may take to answer. They do within milliseconds; a network that is
# slow, or a machine that is loaded several times over, takes a second or two.
_PATIENCE = 10.0

# Seconds a worker that is asked what it sees may take: it loads our code first, from a disk that may be far
# away, and where a store wants credentials it looks for them in one place after another.
_LOOKING = 30.0

# Seconds without a sign of life after which a worker of ours is taken for lost. It gives one twice a
# second, but not while code that holds Python's lock runs: networks are built in less than this.
_LOCAL_TTL = "60s"

# Seconds in which a worker of ours may end by itself. What it computed is sealed by then, and one that loads
# TensorFlow would take Dask's four before it is killed.
_CLOSING = 0.5

# Ctrl-C in a terminal reaches all processes that were started there. What it means is ours to say.
_LEAVE_INTERRUPTIONS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"

# Seconds between two looks whether a worker has built the base, which takes seconds.
_BETWEEN_LOOKS = 0.05

# Seconds at most for which the first worker to have built the base waits for the others. Usually they need one or
# two more; one that needs this much longer is slow, and takes part when it is ready.
_LATECOMERS = 10.0

# What Dask's own tasks end with, when the client does for which they waited.
_SHUTDOWN_ERRORS = ("AllExit", "CancelledError", "CommClosedError", "TimeoutError")

_GO_ON = "what was sealed is kept; run the same command again to go on"

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
        # scheduler_info may be old, or cut to a few workers, and tells of no scheduler that is gone
        found: Mapping[str, Any] = self._ask("identity", n_workers=-1)["workers"]
        return found

    def addresses(self) -> frozenset[str]:
        """Whom the scheduler knows, and no more: a small answer."""
        return frozenset(self._ask("ncores"))

    def running(self) -> frozenset[str]:
        """Return the addresses of workers that take tasks: Dask has not paused them."""
        return frozenset(self._ask("ncores_running"))

    def _ask(self, what: str, **options: Any) -> Any:
        client = self.client
        if client.status == "closed":
            raise scheduler_gone(self)
        try:
            return client.sync(getattr(client.scheduler, what), **options)
        except OSError as error:
            raise scheduler_gone(self) from error

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
            # which waits for those that Dask has not paused
            if paused := cluster.workers() and find_problem(cluster.workers(), name):
                raise BottleneckError(paused) from None
            raise BottleneckError(
                f"the scheduler of {name} has no workers; start some with: dask worker tcp://{address} --nthreads 1"
            ) from None
        _check_workers(cluster, find_version_problem, versions_here())
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
        nannies = list(local.workers.values())

        async def close() -> None:
            closing = (
                nanny.close(timeout=_CLOSING, reason="the command ends") for nanny in nannies
            )
            await asyncio.gather(*closing, return_exceptions=True)

        try:
            yield local
        finally:
            local.sync(close)


@contextlib.contextmanager
def _client(target: Any, name: str) -> Iterator["Client"]:
    from distributed import Client

    # all of Dask's loggers come to the handlers it sets up for them
    for speaking in (logging.getLogger("asyncio"), *logging.getLogger("distributed").handlers):
        speaking.addFilter(_is_not_shutdown_noise)
    try:
        client = Client(target, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BottleneckError(
            f"no Dask scheduler answers at {name} ({one_line(error)}); start one with: dask scheduler, or give its "
            "address with --cluster"
        ) from error
    with client:
        yield client


def _is_not_shutdown_noise(record: logging.LogRecord) -> bool:
    """Whether a log record is anything but Dask's messages about its own shutdown."""
    if record.exc_info:
        return type(record.exc_info[1]).__name__ not in _SHUTDOWN_ERRORS
    return not record.getMessage().startswith("Failed to reconnect to scheduler")


def check_access(
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
    with marked(cache, root, images) as access:
        _check_workers(cluster, find_access_problem, access)


@contextlib.contextmanager
def marked(cache: Path, root: str, images: Iterable[tuple[str, str]]) -> Iterator[AccessCheck]:
    """Put a mark into the cache; what is left of it by one that was killed goes as other such files do."""
    mark = f"{location_of(cache)}/{TEMPORARY}cluster-{secrets.token_hex(8)}"
    _set(mark)
    try:
        for path, digest in itertools.islice(images, _PICTURES_TRIED):
            # one that we see ourselves: then who does not see it is to blame
            with contextlib.suppress(UnreadableImageError):
                if digest_of(open_place(root).read(path)) == digest:
                    yield AccessCheck(mark, root, path, digest)
                    return
        yield AccessCheck(mark, root)
    finally:
        unset(mark)


def _set(mark: str) -> None:
    url, _, name = mark.rpartition("/")
    if is_url(mark):
        Remote(url).write(b"", name)
    else:
        Path(mark).touch()


def unset(mark: str) -> None:
    """Take a mark away, which tells the workers to seal what they have and to stop."""
    url, _, name = mark.rpartition("/")
    if is_url(mark):
        Remote(url).remove(name)
    else:
        Path(mark).unlink(missing_ok=True)


@contextlib.contextmanager
def joblib_on(cluster: Cluster | None, place: str) -> Iterator[None]:
    """Have joblib send to a cluster what runs in the block, and here where there is none.

    Parameters
    ----------
    cluster : Cluster or None
    place : str
        What its workers have to see: an absolute path, or the URL of a cache.

    Raises
    ------
    BottleneckError
        One of them does not see it, or is lost too often.
    """
    if cluster is None:
        yield
        return
    from joblib import parallel_config

    if is_url(place):
        # which may be one that can only be read
        _check_workers(
            cluster, find_access_problem, AccessCheck(f"{place}/{LISTING}", written=False)
        )
    else:
        check_access(cluster, Path(place), "", ())
    with (
        parallel_config("dask", client=cluster.client),
        plain_errors(cluster),
        problems_logged(cluster),
    ):
        yield


def outline(
    cluster: Cluster, wanted: FeatureRequest, taps: tuple[str, ...], settings: Settings, cache: Path
) -> Outline:
    """Have the workers build the base, and take the word of the first. Nothing is loaded here.

    Raises
    ------
    BottleneckError
        It cannot be built.
    """
    from distributed import as_completed

    resources = cluster.resources()
    able = [
        known
        for known in cluster.workers().values()
        if not resources or "GPU" in known["resources"]
    ]
    # One for each worker, tied to none: Dask spreads them, and gives those of a worker that is lost to any other.
    futures = [
        # each time anew: what a worker has built it keeps itself
        cluster.client.submit(
            build_outline,
            *(versions_here(), wanted, taps, settings, cluster.shares, location_of(cache)),
            pure=False,
            resources=resources,
        )
        for _ in able
    ]
    monitor = WaitMonitor(cluster, "they are building the base")
    started = time.monotonic()
    ended = as_completed(futures, cluster.client.loop)
    refused = ""
    with plain_errors(cluster):
        for _ in futures:
            found = _next_result(ended, monitor)
            if isinstance(found, Outline):
                # Workers that were started together are ready together. If tasks were sent now, the first worker
                # would have done all of a small set before the others are.
                end = time.monotonic() + min(time.monotonic() - started, _LATECOMERS)
                while time.monotonic() < end and not all(future.done() for future in futures):
                    time.sleep(_BETWEEN_LOOKS)
                return found
            refused = found
            _log.warning("%s. The others go on without it.", refused)
    raise BottleneckError(refused)


def _next_result(ended: Any, monitor: WaitMonitor) -> "Outline | str":
    """Return what the next worker found, or why it may not build the base."""
    while not ended.has_ready():
        time.sleep(_BETWEEN_LOOKS)
        monitor.check()
    try:
        found: Outline | str = next(ended).result()
    except (ImportError, AttributeError) as error:
        return f"a worker {why_not_loaded(error)}"
    return found


@contextlib.contextmanager
def plain_errors(cluster: Cluster) -> Iterator[None]:
    """Say in a line what Dask says of lost tasks and a lost scheduler."""
    from distributed import KilledWorker
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise BottleneckError(
            f"{error.allowed_failures + 1} workers of {cluster.name} were lost one after another over the same task, "
            f"the last {error.last_worker.address}; its log may say why (out of memory?); {_GO_ON}"
        ) from error
    except (CancelledError, CommClosedError, ClosedClientError) as error:
        raise scheduler_gone(cluster) from error


def scheduler_gone(cluster: Cluster) -> BottleneckError:
    """Say that there is no scheduler any more."""
    return BottleneckError(f"the scheduler of {cluster.name} is gone; {_GO_ON}")


def _check_workers(cluster: Cluster, why: Callable[[Any], str], asked: Any) -> None:
    """Ask all workers at once, past what they have to do, whether they are fit."""
    client, workers = cluster.client, cluster.workers()

    async def ask() -> list[Any]:
        async def one(address: str) -> Any:
            try:
                answer: Any = client.run(why, asked, workers=[address], on_error="return")
                return (await asyncio.wait_for(answer, _LOOKING)).get(address, TimeoutError())
            except (OSError, TimeoutError):
                return TimeoutError()

        return await asyncio.gather(*map(one, workers))

    for (address, known), answer in zip(workers.items(), client.sync(ask), strict=True):
        name = full_name(address, known)
        if isinstance(answer, (TimeoutError, OSError)):
            # Dask takes it for lost when it has been silent for long enough
            _log.warning("%s does not answer; the others go on without it.", name)
        elif isinstance(answer, Exception):
            raise BottleneckError(f"{name} {why_not_loaded(answer)}")
        elif answer:
            raise BottleneckError(f"{name} {answer}")


def full_name(address: str, known: Mapping[str, Any]) -> str:
    """Name a worker for people, by what the scheduler knows of it."""
    own = str(known["name"])
    return f"worker {own}" if own == address else f"worker {own} ({address})"


def why_not_loaded(error: BaseException) -> str:
    """Say what it means that a function of ours cannot be loaded by a worker; Dask says no more of it."""
    version = dict(versions_here())["bottleneck"]
    return (
        f"has no bottleneck, or another version of it than {version} ({one_line(error)}); install "
        f"bottleneck-features {version} there"
    )
