"""Messages that say what a command waits for while a cluster makes no progress."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bottleneck.errors import BottleneckError

if TYPE_CHECKING:
    from bottleneck.extraction.cluster import Cluster

_log = logging.getLogger("bottleneck")

# Seconds without news from workers before the first message. News come every second, and to load a base
# takes longer than this.
SILENCE = 10.0

# Seconds between two messages: nothing waits longer than a minute without one.
_BETWEEN_MESSAGES = 50.0

# Workers named in a message: enough to see that they are alike, and one line still.
_NAMED = 3


class WaitMonitor:
    """Logs what a command waits for when nothing has happened for a while.

    Parameters
    ----------
    cluster : Cluster
    doing : str
        What the workers do where nothing is wrong with them.
    """

    def __init__(self, cluster: "Cluster", doing: str) -> None:
        self._cluster, self._doing = cluster, doing
        self.restart()

    def restart(self) -> None:
        """Note that something happened."""
        self._since = time.monotonic()
        self._next = self._since + SILENCE

    def check(self) -> None:
        """Log what is waited for, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _BETWEEN_MESSAGES
        workers, name = self._cluster.workers(), self._cluster.name
        if problem := find_problem(workers, name):
            _log.warning("%s", problem)
        else:
            _log.info(
                "Waiting for the workers of %s: %s (%d s).", name, self._doing, now - self._since
            )


@contextlib.contextmanager
def problems_logged(cluster: "Cluster") -> Iterator[None]:
    """Log when no worker can run anything, while another library waits for them in the block."""
    ended = threading.Event()

    def watch() -> None:
        said = -_BETWEEN_MESSAGES
        # a scheduler that is gone is an error where it is waited for
        with contextlib.suppress(BottleneckError):
            while not ended.wait(SILENCE):
                problem = find_problem(cluster.workers(), cluster.name)
                if problem and time.monotonic() - said >= _BETWEEN_MESSAGES:
                    said = time.monotonic()
                    _log.warning("%s", problem)

    watcher = threading.Thread(target=watch, name="cluster", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()


def find_problem(workers: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return why no worker of a cluster can run anything; empty where one can.

    Parameters
    ----------
    workers : mapping of str to mapping
        What the scheduler knows of each worker, by its address.
    name : str
        Of the cluster.

    Examples
    --------
    >>> find_problem({}, "dask://head:8786")
    'No worker is left at dask://head:8786. Waiting for one: start it, or press Ctrl-C.'
    >>> worker = {"name": "a", "status": "paused", "memory_limit": 2**30, "metrics": {"memory": 2**30}}
    >>> find_problem({"tcp://x:1": worker}, "dask://head:8786").partition(": ")[0]
    'Dask has paused all workers of dask://head:8786, which are short of memory'
    >>> find_problem({"tcp://x:1": worker | {"status": "running"}}, "dask://head:8786")
    ''
    """
    if not workers:
        return f"No worker is left at {name}. Waiting for one: start it, or press Ctrl-C."
    if any(worker["status"] != "paused" for worker in workers.values()):
        return ""
    from dask.utils import format_bytes

    used = ", ".join(
        f"worker {worker['name']} uses {format_bytes(worker['metrics'].get('memory', 0))} of its limit of "
        f"{format_bytes(worker['memory_limit'] or 0)}"
        for worker in list(workers.values())[:_NAMED]
    )
    more = f" and {len(workers) - _NAMED} more" if len(workers) > _NAMED else ""
    return (
        f"Dask has paused all workers of {name}, which are short of memory: {used}{more}. Nothing is "
        "computed until it falls; start workers with a larger --memory-limit."
    )
