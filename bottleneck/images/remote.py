"""Pictures behind a URL: an object store, a web server, an archive that lies there."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import find_member, open_container
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import Stamp
from bottleneck.remote import REQUESTS, GoneError, Remote, RemoteError, is_url, request_threads
from bottleneck.remote_file import RemoteFile

# Images in a row that fail for one cause before a run stops: twice as many as are read at once, so that a moment in
# which every request fails does not stop it. Each has been tried several times by then.
MOST_FAILURES = 2 * REQUESTS


class _Streak:
    """Count images in a row that fail for one cause of their store's, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cause, self._failures = "", 0

    def end(self) -> None:
        """Note an image that was read."""
        self._failures = 0

    def count(self, error: RemoteError) -> None:
        """Note a failure.

        Raises
        ------
        BottleneckError
            There are too many in a row.
        """
        if error.kind not in ("passing", "credentials"):
            return
        cause = re.sub(r"[\d,]+ bytes", "bytes", error.reason)
        with self._lock:
            self._failures = self._failures + 1 if cause == self._cause else 1
            self._cause = cause
            if self._failures < MOST_FAILURES:
                return
            self._failures = 0
        raise BottleneckError(
            f"stopped, for {MOST_FAILURES} images in a row could not be read: {error.reason}. What was computed is "
            "kept. When the store can be reached, run the same command again"
        ) from None


_streak = _Streak()


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind a URL; a path that is a URL itself may lead anywhere else."""

    root: str
    _elsewhere: dict[str, Remote] = field(default_factory=dict, compare=False)
    _files: dict[str, RemoteFile | None] = field(default_factory=dict, compare=False)
    # of many threads one opens a container, and the others find it open
    _opening: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def where(self, path: str) -> tuple[Remote, str]:
        """Tell which folder holds a path, and under what name."""
        if is_url(path):
            folder, _, name = path.rpartition("/")
        else:
            folder, name = self.root, path
        return self._elsewhere.setdefault(folder, Remote(folder)), name

    def read(self, path: str, size: int = -1) -> bytes:
        """Read an object, again where a fault may pass, see `Place.read`."""
        try:
            inner = self._inner(path)
            if inner is not None:
                with self._opening:
                    container = open_container(inner[0])
                return container.read(inner[1])
            place, name = self.where(path)
            data = place.read(name, size=size)
        except RemoteError as error:
            _streak.count(error)
            raise UnreadableImageError(error.reason) from error
        except BottleneckError as error:
            raise UnreadableImageError(str(error)) from error
        _streak.end()
        return data

    def _inner(self, path: str) -> tuple[RemoteFile, str] | None:
        """Tell which container a path leads into, if one lies there, and to which of its members."""
        inner = None if is_url(path) else find_member(path)
        if inner is None:
            return None
        with self._opening:
            if inner[0] not in self._files:
                file = RemoteFile(self.where("")[0], inner[0])
                self._files[inner[0]] = file if file.is_file() else None
        file_there = self._files[inner[0]]
        return None if file_there is None else (file_there, inner[1])

    def stamp(self, path: str) -> Stamp:
        """Ask for an object's size and version, see `Place.stamp`."""
        try:
            inner = self._inner(path)
            if inner is not None:
                return inner[0].found
            place, name = self.where(path)
            found = place.look(name)
        except RemoteError as error:
            _streak.count(error)
            raise UnreadableImageError(error.reason) from error
        _streak.end()
        return found


def look_at(root: str, paths: Sequence[str]) -> dict[str, Stamp | None]:
    """Look at objects one by one, many at a time.

    Returns
    -------
    dict of str to Stamp or None
        None where there is no such object.

    Raises
    ------
    RemoteError
        Their store cannot be reached.
    """
    place = RemoteFolder(root)

    def look(path: str) -> Stamp | None:
        remote, name = place.where(path)
        try:
            return remote.look(name)
        except GoneError:
            return None

    with request_threads(REQUESTS, "look") as threads:
        return dict(zip(paths, threads.map(look, paths), strict=True))
