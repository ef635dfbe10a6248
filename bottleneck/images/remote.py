"""Pictures behind a URL: an object store, a web server, an archive that lies there."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import Stamp
from bottleneck.remote import REQUESTS, GoneError, Remote, RemoteError, is_url


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind a URL; a path that is a URL itself may lead anywhere else."""

    root: str
    _elsewhere: dict[str, Remote] = field(default_factory=dict, compare=False)

    def where(self, path: str) -> tuple[Remote, str]:
        """Tell which folder holds a path, and under what name."""
        if is_url(path):
            folder, _, name = path.rpartition("/")
        else:
            folder, name = self.root, path
        return self._elsewhere.setdefault(folder, Remote(folder)), name

    def read(self, path: str) -> bytes:
        """Read an object, again where a fault may pass, see `Place.read`."""
        place, name = self.where(path)
        try:
            return place.read(name)
        except RemoteError as error:
            raise UnreadableImageError(error.reason) from error

    def stamp(self, path: str) -> Stamp:
        """Ask for an object's size and version, see `Place.stamp`."""
        place, name = self.where(path)
        try:
            return place.look(name)
        except RemoteError as error:
            raise UnreadableImageError(error.reason) from error


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

    with ThreadPoolExecutor(REQUESTS) as threads:
        return dict(zip(paths, threads.map(look, paths), strict=True))
