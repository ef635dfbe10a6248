"""Where pictures lie: what gives the bytes behind the paths of a listing."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import find_member, open_container
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import read_bytes, why_unreadable
from bottleneck.remote import is_url

# Size in bytes and time of modification in nanoseconds: where neither has changed, neither have the bytes.
Stamp = tuple[int, int]


class Place(Protocol):
    """The root of an image set: it reads what its paths name. Several threads may do so at once."""

    def read(self, path: str, size: int = -1) -> bytes:
        """Read a whole image.

        Parameters
        ----------
        path : str
        size : int
            Its size in bytes when it was listed; -1 where that is not known. What a store sends is compared with it.

        Raises
        ------
        UnreadableImageError
            It is gone, no regular file, or may not be read.
        """
        ...

    def stamp(self, path: str) -> Stamp:
        """Tell a picture's size and time of modification without reading it.

        Raises
        ------
        UnreadableImageError
            As for `read`.
        """
        ...


def open_place(root: str) -> Place:
    """Give what reads the pictures of a root.

    Parameters
    ----------
    root : str
        An absolute path of a folder, or a URL. A path below it may lead into a container, ``003.tar/cat/1.jpg``.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "a.jpg").write_bytes(b"not a picture, but bytes")
    24
    >>> place = open_place(str(folder))
    >>> place.read("a.jpg"), place.stamp("a.jpg")[0]
    (b'not a picture, but bytes', 24)
    """
    if is_url(root):
        from bottleneck.images.remote import RemoteFolder

        return RemoteFolder(root)
    return Folder(root)


@dataclass(frozen=True)
class Folder:
    """A folder of this machine's file system.

    A path that is absolute may lead anywhere else in it, and one that is a URL out of it.
    """

    root: str

    def read(self, path: str, size: int = -1) -> bytes:
        """Read a file, see `Place.read`."""
        if is_url(path):
            return open_place(path).read("", size)
        inner = find_member(path)
        if inner is None or not Path(self.root, inner[0]).is_file():
            return read_bytes(Path(self.root, path))
        container, name = inner
        try:
            return open_container(Path(self.root, container)).read(name)
        except OSError as error:
            raise UnreadableImageError(why_unreadable(Path(self.root, container), error)) from error
        except BottleneckError as error:
            raise UnreadableImageError(str(error)) from error

    def stamp(self, path: str) -> Stamp:
        """Look at a file, see `Place.stamp`."""
        if is_url(path):
            return open_place(path).stamp("")
        # by strings: of pictures named by a CSV that have not changed this is all there is to do, and
        # Path takes longer
        whole = os.path.join(self.root, path)  # noqa: PTH118
        inner = find_member(path)
        if inner is not None and not os.path.exists(whole):  # noqa: PTH110
            # a picture changes with what holds it
            whole = os.path.join(self.root, inner[0])  # noqa: PTH118
        try:
            found = os.stat(whole)  # noqa: PTH116
        except OSError as error:
            raise UnreadableImageError(why_unreadable(Path(whole), error)) from error
        return found.st_size, found.st_mtime_ns
