"""The local folder through which a cache or a run behind a URL is read and written.

Everything else works on that folder and knows nothing of the network. The listing and the recipes are
fetched where they changed; shards never change, so they are fetched once, whole, when their features are
wanted, and dropped again when there are too many. What is sealed in the folder goes up as it is: shards
first, then recipes, the listing last, so that whatever is there is whole.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bottleneck.cache.atomic import TEMPORARY, new_folder, write_atomically
from bottleneck.cache.digests import Digests
from bottleneck.cache.location import STATE
from bottleneck.cache.quantised import quantised_paths
from bottleneck.cache.shard import (
    DamagedShardError,
    Shard,
    check_shard,
    read_shard,
    shard_keys,
    shard_paths,
)
from bottleneck.errors import BottleneckError
from bottleneck.remote import (
    GoneError,
    Object,
    Remote,
    RemoteError,
    clean_url,
    is_url,
    request_threads,
)
from bottleneck.remote_file import RemoteFile

_log = logging.getLogger("bottleneck")

_FETCHING = ".fetch.lock"
_IN_USE = ".in-use"
# of the writer: the lock, and who holds it
LOCK = ".writer.lock"
HOLDER = ".writer.json"

# Bytes of shards kept in all mirrors together, unless more are in use: a few caches of a million images.
LIMIT = 20 * 2**30
# What a request for a part of a shard asks for: long enough that the time to answer does not count, short
# enough that a connection that breaks has not carried it in vain.
_PART = 8 * 2**20
# What is read of a shard at first to know its rows: all but the features of some thousand.
_HEAD = 2**18
# Objects on their way at once, one connection each.
_TRANSFERS = 4
# Seconds between looks for newly sealed shards; they are sealed about once a minute.
_LOOK = 1.0

# Locks of recipes' folders that this process reads from, held as long as it lives: shards may be mapped at
# any time.
_in_use: dict[Path, int] = {}


@dataclass(frozen=True)
class State:
    """What is known of the place a folder mirrors.

    Attributes
    ----------
    url : str
    objects : dict of str to Object
        By path relative to the URL, as of the last look.
    sums : dict of str to str
        SHA-256 of those files that may change, as they were when both sides agreed.
    removed : tuple of str
        What was removed here and may still be there.
    """

    url: str
    objects: dict[str, Object]
    sums: dict[str, str]
    removed: tuple[str, ...] = ()


def local_folder(place: str | os.PathLike[str]) -> Path:
    """Give the folder to work on: the place itself or, for a URL, its mirror, brought up to date.

    Raises
    ------
    BottleneckError
        The URL cannot be reached, or no file can be written where mirrors are.
    """
    if not is_url(place):
        return Path(place)
    folder = mirror_folder(str(place))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refresh(folder, _read_state(folder) or State(clean_url(str(place)), {}, {}))
    except OSError as error:
        raise BottleneckError(
            f"cannot write the local copy of {place} in {folder}: {error.strerror or error}; give another place with "
            "the environment variable BOTTLENECK_MIRROR"
        ) from error
    return folder


def mirrors_folder() -> Path:
    """Where mirrors are: ``$BOTTLENECK_MIRROR``, or a folder in the user's cache."""
    if chosen := os.environ.get("BOTTLENECK_MIRROR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bottleneck"


def mirror_folder(url: str) -> Path:
    """Name the mirror of a URL; its last part is the URL's, for names are made of it."""
    url = clean_url(url)
    name = url.rpartition("/")[2] or "top"
    return mirrors_folder() / hashlib.sha256(url.encode()).hexdigest()[:12] / name


def limit() -> int:
    """Bytes that shards in mirrors may take: ``$BOTTLENECK_MIRROR_BYTES``, or 20 GiB.

    Raises
    ------
    BottleneckError
        The variable holds no number.
    """
    asked = os.environ.get("BOTTLENECK_MIRROR_BYTES", str(LIMIT))
    if not asked.isdecimal():
        raise BottleneckError(
            f"BOTTLENECK_MIRROR_BYTES takes a number of bytes, such as {LIMIT}, not {asked!r}"
        )
    return int(asked)


# --- down


def fetch_shards(folder: Path) -> None:
    """Bring the shards of a recipe's folder here, if it is that of a mirror.

    From now on, and as long as this process lives, none of them is dropped.

    Raises
    ------
    BottleneckError
        One cannot be had, or there is no room for it.
    """
    cache = folder.parents[1]
    state = _read_state(cache)
    if state is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    _hold(folder)
    for path in shard_paths(folder):
        os.utime(path)
    absent = _absent(state, folder)
    if not absent:
        return
    make_room(sum(state.objects[path].size for path in absent))
    with (
        FileLock(
            folder / _FETCHING
        ),  # of two processes the second finds what the first has fetched
        request_threads(_TRANSFERS, "fetch") as threads,
    ):
        remote = Remote(state.url)
        list(threads.map(lambda path: _fetch(remote, path, state.objects[path], cache), absent))


def open_shard(path: Path) -> Shard:
    """Read a shard, checked to the byte; a copy that was damaged here is fetched again.

    Raises
    ------
    DamagedShardError
        It is no copy, or what it is a copy of is damaged too.
    BottleneckError
        It cannot be fetched, or is of a newer format.
    """
    try:
        return read_shard(path)
    except DamagedShardError:
        cache = path.parents[2]
        state, name = _read_state(cache), path.relative_to(cache).as_posix()
        if state is None or name not in state.objects:
            raise
    with FileLock(path.parent / _FETCHING):
        _log.warning("The copy %s is damaged and fetched again.", path)
        # whoever has it mapped keeps what was mapped
        path.unlink(missing_ok=True)
        _fetch(Remote(state.url), name, state.objects[name], cache)
    return read_shard(path)


def _fetch(remote: Remote, path: str, known: Object, cache: Path) -> None:
    """Fetch a shard in parts, going on where an earlier attempt ended; it counts when it is whole."""
    target = cache / path
    partial = target.with_name(f".fetching-{target.name}")
    if target.exists():
        return
    # from the beginning where what an earlier attempt left behind is not right
    for again in (False, True):
        with partial.open("wb" if again else "ab") as file:
            if known.size < 0:  # the store does not tell
                file.truncate(0)
                file.write(remote.read(path))
            while (start := file.tell()) < known.size:
                file.write(remote.read(path, start, min(start + _PART, known.size)))
        if not again:
            try:
                check_shard(partial, target.name)
            except BottleneckError:
                continue
        partial.rename(target)  # if it is still not right, whoever reads it says so
        return


def absent_keys(folder: Path) -> Iterator[tuple[str, Digests, NDArray[np.uint16]]]:
    """Tell which rows the shards have that are not here: of each its name, digests and views.

    Only their first bytes are read, once. That they are right is told by the shard's name.
    """
    cache = folder.parents[1]
    state = _read_state(cache)
    if state is None:
        return
    remote = Remote(state.url)

    def read(path: str) -> tuple[str, Digests, NDArray[np.uint16]] | None:
        name = path.rpartition("/")[2]
        kept = folder / f".keys-{name}.npz"
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = np.load(kept)
            digests, views = Digests.from_ascii(found["digests"]), found["views"]
            if shard_keys(digests.texts(), views) in name:
                return name, digests, views
        try:
            with h5py.File(
                RemoteFile(remote, path, state.objects[path]).open("rb", _HEAD), "r"
            ) as file:
                digests, views = Digests.from_ascii(file["digests"][:]), file["views"][:]
        except (OSError, KeyError, ValueError):
            digests, views = Digests.of([]), np.zeros(0, np.uint16)
        if shard_keys(digests.texts(), views) not in name:
            _log.warning("Shard %s/%s is damaged.", state.url, path)
            return None
        content = io.BytesIO()
        np.savez(content, digests=digests.to_ascii(), views=views)
        write_atomically(kept, content.getbuffer())
        return name, digests, views

    with request_threads(_TRANSFERS, "keys") as threads:
        yield from filter(None, threads.map(read, _absent(state, folder)))


def absent_bytes(folder: Path) -> int:
    """Tell how many bytes those shards have that are not here."""
    state = _read_state(folder.parents[1])
    return sum(state.objects[path].size for path in _absent(state, folder)) if state else 0


def _refresh(folder: Path, known: State) -> State:
    """Look what is there and fetch the small files that changed."""
    with FileLock(folder / _FETCHING):
        remote = Remote(known.url)
        found = {
            path: each
            for path, each in remote.find().items()
            if path not in known.removed and not path.rpartition("/")[2].startswith(".")
        }
        sums = dict(known.sums)
        for path, each in found.items():
            target = folder / path
            if _is_shard(path) or (known.objects.get(path) == each and target.exists()):
                continue
            content = remote.read(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
            sums[path] = hashlib.sha256(content).hexdigest()
        for path in known.objects.keys() - found.keys():
            # removed by somebody else, unless it was changed here since
            if path in sums and sums.pop(path) == _sum(folder / path):
                (folder / path).unlink(missing_ok=True)
        for recipe in {Path(path).parent for path in found if _is_shard(path)}:
            (folder / recipe).mkdir(parents=True, exist_ok=True)
        state = State(known.url, found, sums, known.removed)
        _write_state(folder, state)
    return state


def make_room(needed: int) -> None:
    """Drop shards of least recent use where mirrors would take more than `limit`.

    Those in use stay, and those that are here only.
    """
    kept = {path: path.stat() for path in mirrors_folder().glob("*/*/features/*/shard-*.h5")}
    excess = sum(stat.st_size for stat in kept.values()) + needed - limit()
    for path in sorted(kept, key=lambda path: kept[path].st_mtime_ns):
        if excess <= 0:
            return
        cache = path.parents[2]
        state = _read_state(cache)
        if state is None or str(path.relative_to(cache)) not in state.objects:
            continue
        with contextlib.suppress(Timeout, BlockingIOError), _unused(path.parent):
            path.unlink(missing_ok=True)
            excess -= kept[path].st_size


@contextlib.contextmanager
def _unused(folder: Path) -> Iterator[None]:
    """Hold a recipe's folder that nobody reads or writes, or raise."""
    with (
        FileLock(folder.parents[1] / LOCK, timeout=0),
        (folder / _IN_USE).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _hold(folder: Path) -> None:
    if folder not in _in_use:
        descriptor = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _in_use[folder] = descriptor


# --- up


@contextlib.contextmanager
def sent_back(cache: Path) -> Iterator[None]:
    """Bring what is written to a mirror to where the cache is: shards as they are sealed, the rest at the end.

    Nothing happens for a folder that is no mirror. Only for who holds the writer's lock.

    Raises
    ------
    BottleneckError
        Nothing can be written there, or not now. What was sealed waits in the mirror.
    """
    known = _read_state(cache)
    if known is None:
        yield
        return
    remote = Remote(known.url)
    remote.refuse_to_write()
    before = {path for path in known.objects if _is_shard(path)}
    state = _refresh(cache, known)
    for path in before - state.objects.keys():
        (cache / path).unlink(missing_ok=True)  # somebody else removed it
    # the first thing that is written: who may not is told before hours are spent
    _claim(remote, cache)
    ended = threading.Event()
    sender = threading.Thread(target=_send_sealed, args=(cache, ended), name="send", daemon=True)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()
        _send(cache)
        remote.remove(HOLDER)


def forget(path: Path) -> None:
    """Remove a file of a cache, here and where the cache is."""
    cache = next((each for each in path.parents if (each / STATE).exists()), None)
    if cache is not None:
        with FileLock(cache / _FETCHING):
            state = _read_state(cache)
            assert state is not None
            name = str(path.relative_to(cache))
            objects = {each: found for each, found in state.objects.items() if each != name}
            removed = (*state.removed, *([name] if name in state.objects else []))
            _write_state(cache, State(state.url, objects, state.sums, removed))
        path.with_name(f".keys-{path.name}.npz").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _send_sealed(cache: Path, ended: threading.Event) -> None:
    """Send shards while others are computed; what fails is tried again at the end."""
    told = False
    while not ended.wait(_LOOK):
        try:
            _send_shards(cache)
        except (BottleneckError, OSError) as error:
            if not told:
                _log.warning("%s; tried again at the end", error)
            told = True


def _send_shards(cache: Path) -> None:
    state = _read_state(cache)
    assert state is not None
    sealed = [str(path.relative_to(cache)) for path in cache.glob("features/*/shard-*.h5")]
    _upload(cache, state, [path for path in sealed if path not in state.objects])


def _send(cache: Path) -> None:
    """Send all that is not there yet, in the order in which it is of use, and remove what is to go."""
    try:
        _send_shards(cache)
        state = _read_state(cache)
        assert state is not None
        send_graphs(cache)
        small = [str(path.relative_to(cache)) for path in cache.glob("features/*/recipe.json")]
        for some in (small, ["listing.h5"]):
            _upload_changed(cache, some)
        for path in state.removed:
            Remote(state.url).remove(path)
        with FileLock(cache / _FETCHING):
            now = _read_state(cache)
            assert now is not None
            _write_state(cache, State(now.url, now.objects, now.sums))
    except RemoteError as error:
        raise BottleneckError(
            f"{error}; what is sealed waits in {cache}, and the same command sends it"
        ) from error


def send_graphs(cache: Path) -> None:
    """Send quantised graphs to where the cache is, if this is a mirror: features are of no use without them."""
    _upload_changed(cache, [str(path.relative_to(cache)) for path in quantised_paths(cache)])


def _upload_changed(cache: Path, paths: list[str]) -> None:
    state = _read_state(cache)
    if state is not None:
        changed = [path for path in paths if _sum(cache / path) not in (None, state.sums.get(path))]
        _upload(cache, state, changed)


def _upload(cache: Path, state: State, paths: list[str]) -> None:
    remote = Remote(state.url)

    def upload(path: str) -> None:
        found = None if _is_shard(path) else _sum(cache / path)
        remote.upload(cache / path, path)
        note_sent(cache, {path: remote.look(path)}, {path: found} if found else {})

    with request_threads(_TRANSFERS, "send") as threads:
        list(threads.map(upload, paths))


def note_sent(
    cache: Path, sent: Mapping[str, Object], sums: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Take down in a mirror what has arrived where the cache is, sent from here or by somebody else."""
    with FileLock(cache / _FETCHING):
        now = _read_state(cache)
        assert now is not None
        # the same rows again, in place of a damaged shard of this name
        removed = tuple(each for each in now.removed if each not in sent)
        state = State(now.url, {**now.objects, **sent}, {**now.sums, **sums}, removed)
        _write_state(cache, state)


def send_shards(folder: Path, url: str) -> dict[str, Object]:
    """Send the shards in a folder to a cache behind a URL, for whom its mirror is elsewhere.

    Returns
    -------
    dict of str to Object
        What is to be noted in the mirror, see `note_sent`.

    Raises
    ------
    RemoteError
        One cannot be sent.
    """
    remote = Remote(url)

    def send(file: Path) -> tuple[str, Object]:
        path = file.relative_to(folder).as_posix()
        remote.upload(file, path)
        return path, remote.look(path)

    with request_threads(_TRANSFERS, "send") as threads:
        return dict(threads.map(send, folder.glob("features/*/shard-*.h5")))


def _claim(remote: Remote, cache: Path) -> None:
    """Say there who writes, and warn where somebody else has: no object store keeps a lock."""
    me = {"host": socket.gethostname(), "mirror": str(cache)}
    try:
        who = json.loads(remote.read(HOLDER))
        if who == me:
            # we were killed: what is unfinished there is ours
            for path in remote.find():
                if path.rpartition("/")[2].startswith(TEMPORARY):
                    remote.remove(path)
        else:
            _log.warning(
                "%s is being written on %s too, or was when its writer was killed. Features of both are kept; of the "
                "two listings the later stays.",
                *(remote.url, who["host"]),
            )
    except GoneError:
        pass
    except (ValueError, KeyError, TypeError):
        _log.warning("%s/%s is damaged and is written again.", remote.url, HOLDER)
    remote.write(json.dumps(me).encode(), HOLDER)


@contextlib.contextmanager
def new_remote_folder(url: str, what: str, mend: str, last: str) -> Iterator[Path]:
    """Give a folder to write into, whose files are sent to a URL when all of them are there.

    Parameters
    ----------
    url : str
        Nothing may be there yet.
    what, mend : str
        For messages, as for `bottleneck.cache.atomic.new_folder`.
    last : str
        The file without which the others count for nothing.

    Raises
    ------
    BottleneckError
        Something is there already, or nothing can be written there.
    """
    refuse_taken(url, what, mend)
    folder = mirror_folder(url)
    shutil.rmtree(folder, ignore_errors=True)  # of one that is gone
    with new_folder(folder, what, mend) as unfinished:
        yield unfinished
        send_folder(unfinished, url, last)


def refuse_taken(url: str, what: str, mend: str) -> None:
    """Refuse to write where something is, or where nothing can be written.

    Raises
    ------
    BottleneckError
        So it is.
    """
    remote = Remote(clean_url(url))
    remote.refuse_to_write()
    if remote.find():
        raise BottleneckError(f"{url} exists already and {what} is never overwritten; {mend}")


def send_folder(folder: Path, url: str, last: str, leave: Collection[str] = ()) -> None:
    """Send a folder's files, `last` after all others, and make of the folder the URL's mirror."""
    remote = Remote(clean_url(url))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in sorted(set(names) - set(leave), key=lambda name: (name == last, name)):
        remote.upload(folder / name, name)
    _write_state(folder, State(remote.url, remote.find(), {}))


# --- what is known


def _absent(state: State, folder: Path) -> list[str]:
    top = f"features/{folder.name}/"
    return [
        path
        for path in state.objects
        if path.startswith(top) and _is_shard(path) and not (folder / path[len(top) :]).exists()
    ]


def _is_shard(path: str) -> bool:
    return path.rpartition("/")[2].startswith("shard-")


def _sum(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _read_state(folder: Path) -> State | None:
    try:
        content = json.loads((folder / STATE).read_bytes())
        objects = {path: Object(*each) for path, each in content["objects"].items()}
        return State(content["url"], objects, content["sums"], tuple(content["removed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_state(folder: Path, state: State) -> None:
    content = {
        "url": state.url,
        "objects": state.objects,
        "sums": state.sums,
        "removed": state.removed,
    }
    write_atomically(folder / STATE, json.dumps(content).encode())
