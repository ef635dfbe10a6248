"""Where pictures lie: what gives the bytes behind the paths of a listing."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bottleneck.images.decode import UnreadableImageError

# Size in bytes and time of modification in nanoseconds: where neither has changed, neither have the bytes.
Stamp = tuple[int, int]


class Place(Protocol):
    """The root of an image set: it reads what its paths name. Several threads may do so at once."""

    def read(self, path: str) -> bytes:
        """Read a whole picture.

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
        An absolute path of a folder.

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
    return Folder(root)


@dataclass(frozen=True)
class Folder:
    """A folder of this machine's file system; a path that is absolute may lead anywhere else in it."""

    root: str

    def read(self, path: str) -> bytes:
        """Read a file, see `Place.read`."""
        return read_bytes(Path(self.root, path))

    def stamp(self, path: str) -> Stamp:
        """Look at a file, see `Place.stamp`."""
        # by strings: of pictures named by a CSV that have not changed this is all there is to do, and
        # Path takes longer
        whole = os.path.join(self.root, path)  # noqa: PTH118
        try:
            found = os.stat(whole)  # noqa: PTH116
        except OSError as error:
            raise UnreadableImageError(_why(Path(whole), error)) from error
        return found.st_size, found.st_mtime_ns


def read_bytes(path: Path) -> bytes:
    """Read a whole file, or say in plain words why that cannot be done.

    Raises
    ------
    UnreadableImageError
        The file is missing, no regular file, or may not be read.
    """
    try:
        # asked before opening: to open a named pipe is to wait until somebody writes to it
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableImageError("not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(_why(path, error)) from error


def _why(path: Path, error: OSError) -> str:
    """Put into words why the operating system did not give us a file."""
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return f"broken link: {str(path.readlink())!r} does not exist"
        return "no such file: it was moved or deleted"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    if error.errno == errno.ELOOP:
        return "link loop: the link leads back to itself"
    return f"cannot be read: {error.strerror}"
