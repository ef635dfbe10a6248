"""One writer at a time."""

import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bottleneck.cache.atomic import remove_unfinished, write_atomically
from bottleneck.cache.location import name_of
from bottleneck.cache.mirror import HOLDER, LOCK, sent_back
from bottleneck.cache.recipe import QUANTISED, recipe_folders
from bottleneck.errors import BottleneckError


@contextlib.contextmanager
def writer_lock(cache: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold the right to write to a cache; the operating system gives it back if we are killed.

    The cache's folder is made if need be, and what a killed writer left half-written is removed. What is
    written to the mirror of a cache behind a URL is sent there, see `bottleneck.cache.mirror.sent_back`.
    Readers take no lock and are never kept waiting.

    Parameters
    ----------
    cache : Path
    patience : float
        Seconds to wait for another process that writes.

    Raises
    ------
    BottleneckError
        Another process is writing; the message names it.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / LOCK, timeout=patience)
        lock.acquire()
    except Timeout:
        raise BottleneckError(
            f"{name_of(cache)} is being written by {_holder(cache)}; wait until it ends, or give another folder with "
            "--cache"
        ) from None
    except OSError as error:
        raise BottleneckError(
            f"cannot write to the cache {cache}: {error.strerror}; give another folder with --cache"
        ) from error
    try:
        remove_unfinished(cache)
        remove_unfinished(cache / QUANTISED)
        for folder in recipe_folders(cache):
            remove_unfinished(folder)
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        }
        write_atomically(cache / HOLDER, json.dumps(me).encode())
        with sent_back(cache):
            yield
    finally:
        (cache / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(cache: Path) -> str:
    try:
        who = json.loads((cache / HOLDER).read_bytes())
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"  # it has the lock and has not said who it is yet
