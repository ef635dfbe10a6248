"""What every container is, and which files are one."""

import functools
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.remote_file import RemoteFile


class Member(NamedTuple):
    """One picture of a container.

    Attributes
    ----------
    name : str
        Its place in the container; it never changes while the container does not.
    label, split : str or None
        Where the container says so itself, and not by the names of folders in it.
    problem : str or None
        Why it cannot be read, where that is plain already.
    """

    name: str
    label: str | None = None
    split: str | None = None
    problem: str | None = None


class Container(Protocol):
    """An opened container. Several threads may read from it at once.

    Attributes
    ----------
    folders : bool
        Whether names in it are paths of files, whose folders may say what the pictures show.
    """

    folders: bool

    def members(self) -> Sequence[Member]:
        """List its pictures, each name once, in the order they lie in it."""
        ...

    def read(self, name: str) -> bytes:
        """Read one: the bytes of a picture file.

        Raises
        ------
        UnreadableImageError
            It is not there or damaged.
        """
        ...


# By what a file's name ends in: the class that reads it, imported when there is such a file.
_CLASSES = {
    ".tar": "tar:Tar",
    ".zip": "zip:Zip",
    ".parquet": "parquet:Parquet",
    ".npz": "arrays:Npz",
    ".h5": "arrays:Hdf5",
    ".hdf5": "arrays:Hdf5",
}
_CIFAR = r"(?:data_batch_\d|test_batch)(?:\.bin)?"
_NAME = re.compile(rf"(?:.*(?:{'|'.join(map(re.escape, _CLASSES))})|{_CIFAR})", re.IGNORECASE)
_INNER = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, _CLASSES))}|(?:^|/){_CIFAR}))/(.+)",
    re.IGNORECASE | re.DOTALL,
)

# Containers kept open: a few for each thread that reads, for pictures are read in their order.
_OPEN = 32
# To know what lies where in these takes many requests, so they are kept as long as they are needed: a megabyte or
# two each.
_INDEXED = (".tar", ".zip")
_INDICES = 256

# A container's file: here, or behind a URL.
File = Path | RemoteFile


def is_container(name: str) -> bool:
    """Tell by its name whether a file holds many pictures.

    Examples
    --------
    >>> [name for name in ("a.tar", "data_batch_1", "a.jpg", "train.parquet") if is_container(name)]
    ['a.tar', 'data_batch_1', 'train.parquet']
    """
    return _NAME.fullmatch(name) is not None


def find_member(path: str) -> tuple[str, str] | None:
    """Tell which container a path leads into, and to which of its members.

    Examples
    --------
    >>> find_member("shards/003.tar/cat/1.jpg")
    ('shards/003.tar', 'cat/1.jpg')
    >>> find_member("cat/1.jpg")
    """
    found = _INNER.fullmatch(path)
    return (found[1], found[2]) if found else None


def open_container(file: File) -> Container:
    """Open a container, or take it again where its file has not changed.

    Raises
    ------
    BottleneckError
        It is not what its name says, or what reads it is not installed.
    OSError
        It may not be read, or is gone.
    """
    kept = isinstance(file, RemoteFile) and file.suffix.lower() in _INDEXED
    return (_open_index if kept else _open)(file, *stamp_of(file))


def stamp_of(file: File) -> tuple[int, int]:
    """Tell size and time of modification, or version, of a container: its pictures change with it."""
    if isinstance(file, RemoteFile):
        return file.found
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=_OPEN)
def _open(file: File, size: int, version: int) -> Container:  # noqa: ARG001 - another file is opened anew
    where = _CLASSES.get(file.suffix.lower(), "cifar:Cifar")
    module, name = where.split(":")
    kind: Callable[[File], Container] = getattr(
        import_module(f"bottleneck.images.containers.{module}"), name
    )
    return kind(file)


_open_index = functools.lru_cache(maxsize=_INDICES)(_open.__wrapped__)


def no_such_member(name: str) -> UnreadableImageError:
    """Say that a container does not hold what is asked for."""
    return UnreadableImageError(f"the container has no {name!r} any more")


def not_readable(file: File, kind: str, error: object) -> BottleneckError:
    """Say that a file is not what its name says."""
    text = " ".join(str(error).split())
    return BottleneckError(f"{file} is not a readable {kind}: {text}")
