"""The tasks of a plan, sent to the workers of a Dask cluster.

Dask alone decides which worker runs what, notices workers that are lost, and gives what they had to
others. What a worker does with a task is in `bottleneck.extraction.worker`.
"""

import contextlib
import dataclasses
import math
import pickle
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.cache.digests import Digests
from bottleneck.cache.location import location_of
from bottleneck.cache.mirror import note_sent
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import (
    Cluster,
    marked,
    plain_errors,
    unset,
)
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.engines.protocol import BATCH_SIZE
from bottleneck.extraction.plan import Missing, Target, Task, plan_tasks, rows_per_task
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.request import FeatureRequest
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.extraction.waiting import SILENCE, WaitMonitor
from bottleneck.extraction.worker import (
    Done,
    Job,
    Outline,
    is_marked,
    run_here,
)
from bottleneck.extraction.worker_pool import BETWEEN_LOOKS, WorkerPool

# Tasks for each worker at least, where there are images enough: at the end workers wait for the last of
# them for half a task on average.
_TASKS_PER_WORKER = 8

# Batches to a task at least: its first picture is decoded and its shard sealed while the base waits.
_BATCHES_PER_TASK = 4

# Seconds in which workers that are told to stop seal what they have: a batch or two, and a shard.
_SEALING = 20.0

# The same after Ctrl-C or SIGTERM, which end a command within two seconds. Workers elsewhere seal what they have
# without us.
_SEALING_INTERRUPTED = 1.0


def compute(
    cluster: Cluster,
    items: Missing,
    root: str,
    cache: Path,
    targets: Sequence[Target],
    wanted: FeatureRequest,
    outline: Outline,
    settings: Settings,
    tally: ExtractionStatistics,
    progress: Progress,
) -> None:
    """Have workers compute features of images and seal them into shards.

    Parameters
    ----------
    cluster : Cluster
    items : Missing
    root : str
        What their paths start from.
    cache : Path
    targets : sequence of Target
    wanted : FeatureRequest
    outline : Outline
        Of the base, up to the taps of the targets.
    settings : Settings
    tally : ExtractionStatistics
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
    most = rows_per_task(row, settings.batch_size or BATCH_SIZE)
    size = task_rows(items.total, most, len(cluster.workers()), outline.batch_seconds, settings)
    named = ((path, item.digest) for item in items for path in item.paths)
    with marked(cache, root, named) as access:
        job = Job(
            wanted,
            outline,
            # of what is held a worker is told what its task is about, not all of it
            tuple(dataclasses.replace(target, cached={}) for target in targets),
            location_of(cache),
            settings,
            cluster.shares,
            access,
            f"bottleneck-{secrets.token_hex(8)}",
        )
        progress("extracting", 0, items.total)
        sending = _Sending(cluster, job, plan_tasks(items, size), cache, targets, tally)
        sending.run(lambda through: progress("extracting", through, items.total))


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
    batch_size = settings.batch_size or BATCH_SIZE
    each = math.ceil(rows / (workers * _TASKS_PER_WORKER) / batch_size)
    in_time = settings.seal_seconds / batch_seconds
    batches = min(max(each, _BATCHES_PER_TASK), in_time, most // batch_size)
    return max(int(batches), 1) * batch_size


@dataclass(frozen=True)
class _Sent:
    """A task under way, and the workers it may go to."""

    future: Any
    to: frozenset[str]


class _Sending:
    """Gives tasks to Dask, a few for each worker at a time, and takes what comes back.

    What a worker did with a task it says by an event, which the scheduler hands on. A result would stay with
    the worker until somebody comes for it, and be lost with it.
    """

    def __init__(
        self,
        cluster: Cluster,
        job: Job,
        tasks: Sequence[Task],
        cache: Path,
        targets: Sequence[Target],
        tally: ExtractionStatistics,
    ) -> None:
        self._cluster, self._job, self._tasks, self._cache = cluster, job, tasks, cache
        self._targets, self._tally = targets, tally
        # What happens is put here by Dask's threads and looked at by ours: what workers say, and futures of
        # tasks that came to an end.
        self._happened: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pool = WorkerPool(cluster, job.access, job.topic, self._happened)
        self._waiting = deque(range(len(tasks)))
        self._running: dict[int, _Sent] = {}
        # those whose workers are all gone, and since when
        self._stranded: dict[int, float] = {}
        self._through = dict.fromkeys(self._waiting, 0)
        self._monitor = WaitMonitor(cluster, "no task has made progress")

    def run(self, progress: Callable[[int], None]) -> None:
        """Have all tasks done; `progress` is told how many views are through."""
        topic = self._job.topic
        self._cluster.client.subscribe_topic(topic, lambda event: self._happened.put(event[1]))
        try:
            with plain_errors(self._cluster):
                while self._waiting or self._running:
                    self._pool.look()
                    self._refill()
                    self._wait()
                    progress(sum(self._through.values()))
        except BaseException as error:
            self._call_off(_SEALING if isinstance(error, Exception) else _SEALING_INTERRUPTED)
            raise
        finally:
            from distributed.client import ClosedClientError

            # with the scheduler gone there is nobody to tell
            with contextlib.suppress(ClosedClientError):
                self._cluster.client.unsubscribe_topic(topic)
                self._pool.dismiss()
                for sent in self._running.values():
                    sent.future.release()

    def _refill(self) -> None:
        now, pool = time.monotonic(), self._pool
        for number, sent in list(self._running.items()):
            if not sent.to.isdisjoint(pool.running):
                self._stranded.pop(number, None)
                continue
            stranded = now - self._stranded.setdefault(number, now)
            gone = sent.to.isdisjoint(pool.there)
            # Dask waits for one of those to come back; had it given the task up, we would know by now. One that is
            # paused may still be at it, so it gets longer, and as long as there is nobody else.
            if (gone and stranded >= BETWEEN_LOOKS) or (pool.room and stranded >= SILENCE):
                self._send_again(number)
        while self._waiting and len(self._running) < pool.room:
            self._send(self._waiting.popleft())

    def _send(self, number: int) -> None:
        task, topic = self._tasks[number], self._job.topic
        held = [_held(target, task) for target in self._targets]
        future = self._cluster.client.submit(
            run_here,
            *(self._job, number, task, held),
            key=f"{topic}-{number}-{secrets.token_hex(4)}",
            pure=False,
            workers=sorted(self._pool.fit),
            resources=self._pool.resources,
        )
        self._running[number] = _Sent(future, self._pool.fit)
        future.add_done_callback(lambda future: self._happened.put((number, future)))

    def _send_again(self, number: int) -> None:
        self._running.pop(number).future.cancel()
        self._stranded.pop(number, None)
        self._waiting.appendleft(number)

    def _wait(self) -> None:
        """Wait until something happens, and not for long."""
        try:
            event = self._happened.get(timeout=BETWEEN_LOOKS)
        except queue.Empty:
            self._monitor.check()
            return
        self._monitor.restart()
        self._hear(*event)

    def _hear(self, who: str | int, what: Any) -> None:
        if isinstance(who, str):
            self._pool.hear(who, what)
        elif who not in self._running:
            return  # it was sent twice, and is done
        elif isinstance(what, int):
            self._through[who] = max(self._through[who], what)
        elif isinstance(what, bytes):
            self._take(who, pickle.loads(what))
        elif what is self._running[who].future:
            self._end(who)

    def _take(self, number: int, done: Done) -> None:
        # what is known here no worker has to keep
        self._running.pop(number).future.release()
        self._tally.add(done.tally, done.worker)
        if done.sent:
            note_sent(self._cache, done.sent)
        mark = self._job.access.mark
        if not done.whole and is_marked(mark):
            raise BottleneckError(
                f"worker {done.worker} was told to stop by nobody: it does not see {mark} any more; run the same "
                "command again to go on"
            )
        self._through[number] = sum(len(item.views) for item in self._tasks[number].items)

    def _end(self, number: int) -> None:
        """See to a task that came to an end of which its worker has said nothing."""
        if self._running[number].future.status == "finished":
            self._send_again(number)
            return
        future = self._running.pop(number).future
        future.result(timeout=SILENCE)

    def _call_off(self, seconds: float) -> None:
        """Have workers seal what they have, which they do when the mark is gone, and take it."""
        with contextlib.suppress(BottleneckError):
            unset(self._job.access.mark)
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while self._running:
                event = self._happened.get(timeout=max(until - time.monotonic(), 0))
                with contextlib.suppress(BottleneckError), plain_errors(self._cluster):
                    self._hear(*event)


def _held(target: Target, task: Task) -> dict[int, Digests]:
    digests = {item.digest for item in task.items}
    return {
        view: Digests.of([digest for digest in digests if digest in held])
        for view, held in target.cached.items()
    }
