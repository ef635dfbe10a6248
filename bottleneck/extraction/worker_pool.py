"""Dask worker pool: which workers may receive tasks."""

import logging
import queue
import secrets
import time
from collections.abc import Mapping
from typing import Any

from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import Cluster, full_name, why_not_loaded
from bottleneck.extraction.waiting import SILENCE
from bottleneck.extraction.worker import AccessCheck, report_worker_check, versions_here

_log = logging.getLogger("bottleneck")

# Tasks under way for each thread of a worker: the one at work and the next, so that nobody waits for us. A task
# of 2,000 images is some 200 kB, which the scheduler holds until it is done.
_TASKS_AHEAD = 2

# Seconds between two looks at who is there.
BETWEEN_LOOKS = 1.0


class WorkerPool:
    """Admits workers that pass the checks of versions and access.

    A worker that joins is checked too, by a Dask task. One that fails is named once and left out.

    Parameters
    ----------
    cluster : Cluster
    access : AccessCheck
        What they have to see.
    topic : str
        Under which they answer.
    happened : SimpleQueue
        Where their answers are put by ``report_worker_check``, each a pair of the worker's address and its problem. The
        outcome of each check's task is put there too.

    Attributes
    ----------
    resources : dict of str to float or None
        What a task asks for.
    there : dict of str to dict
        What the scheduler knows of each worker, by its address.
    running : frozenset of str
        Addresses of those Dask has not paused.
    fit : frozenset of str
        Addresses.
    """

    def __init__(
        self, cluster: Cluster, access: AccessCheck, topic: str, happened: queue.SimpleQueue[Any]
    ) -> None:
        self._cluster, self._access, self._topic, self._happened = cluster, access, topic, happened
        self.resources = cluster.resources()
        self.there: Mapping[str, Any] = {}
        self.running: frozenset[str] = frozenset()
        self.fit: frozenset[str] = frozenset()
        self._asked: dict[str, Any] = {}
        self._unfit: dict[str, str] = {}
        self._next_look = 0.0

    @property
    def room(self) -> int:
        """How many tasks may be under way."""
        threads = (
            known["nthreads"]
            for address, known in self.there.items()
            if address in self.fit & self.running
            and (not self.resources or "GPU" in known["resources"])
        )
        return _TASKS_AHEAD * int(sum(threads))

    def look(self) -> None:
        """Look who is there, if it is time, and ask those who are new.

        Raises
        ------
        BottleneckError
            There are workers, and none of them is fit; or the scheduler is gone.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + BETWEEN_LOOKS
        self.running = self._cluster.running()
        if self._cluster.addresses() != self.there.keys():
            self.there = self._cluster.workers()
        for address in self._asked.keys() - self.there.keys():
            self._asked.pop(address).cancel()
            self._unfit.pop(address, None)
        # anew each time, for who was fit when a task was sent is kept with it
        self.fit = self.fit.intersection(self.there)
        for address in self.there.keys() - self._asked.keys():
            self._asked[address] = self._cluster.client.submit(
                report_worker_check,
                *(versions_here(), self._access, self._topic),
                key=f"{self._topic}-who-{secrets.token_hex(4)}",
                pure=False,
                workers=[address],
                priority=1,  # before its next task
            )
            self._asked[address].add_done_callback(
                lambda future, address=address: self._happened.put((address, future))
            )
        if self._unfit and self._unfit.keys() == self.there.keys():
            address, why = self._unfit.popitem()
            raise BottleneckError(f"{full_name(address, self.there[address])} {why}")

    def hear(self, address: str, said: Any) -> None:
        """Take an answer: why a worker is not fit, or nothing where it is; or how its being asked ended."""
        if address not in self.there:
            return
        if not isinstance(said, str):
            if said.status != "error":
                return  # it has answered
            said = why_not_loaded(said.exception(timeout=SILENCE))
        if not said:
            self.fit = self.fit | {address}
            return
        self._unfit[address] = said
        self._next_look = 0.0  # nobody else may be left
        if self._unfit.keys() != self.there.keys():
            name = full_name(address, self.there[address])
            _log.warning("%s %s. The others go on without it.", name, said)

    def dismiss(self) -> None:
        """Take back what is still asked."""
        for future in self._asked.values():
            future.release()
