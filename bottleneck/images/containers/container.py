"""Containers: files that hold many images, and how to open them."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.reasons import describe
from bottleneck.remote_file import RemoteFile


class Member(NamedTuple):
    """One image of a container.

    Attributes
    ----------
    name : str
        Its name in the container; it never changes while the container does not.
    label, split : str or None
        Where the container gives them itself, and not by the names of folders in it.
    problem : str or None
        Why it cannot be read, where that is known already.
    placed : bool
        Whether the folders in its name are folders of the container.
    """

    name: str
    label: str | None = None
    split: str | None = None
    problem: str | None = None
    placed: bool = True


class Container(Protocol):
    """An opened container. Several threads may read from it at once.

    Attributes
    ----------
    folders : bool
        Whether names in it are paths of files, whose folders may be classes.
    """

    @property
    def folders(self) -> bool:
        """See above."""
        ...

    def members(self) -> Sequence[Member]:
        """List its images in its order. Each name occurs once."""
        ...

    def read(self, name: str) -> bytes:
        """Read one image: the bytes of an image file.

        Raises
        ------
        UnreadableImageError
            It is missing or damaged.
        """
        ...


# The class that reads a file, by the ending of its name. It is imported when there is such a file.
_CLASSES = {
    ".tar": "tar:Tar",
    ".zip": "zip:Zip",
    ".parquet": "parquet:Parquet",
    ".npz": "arrays:Npz",
    ".h5": "hdf5:Hdf5",
    ".hdf5": "hdf5:Hdf5",
}
_CIFAR = r"(?:data_batch_\d|test_batch)(?:\.bin)?"
_NAME = re.compile(rf"(?:.*(?:{'|'.join(map(re.escape, _CLASSES))})|{_CIFAR})", re.IGNORECASE)
_INNER = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, _CLASSES))}|(?:^|/){_CIFAR}))/(.+)",
    re.IGNORECASE | re.DOTALL,
)

# Containers kept open: a few for each thread that reads, because images are read in their order.
_OPEN = 32
# To index these takes many requests, so they are kept as long as they are needed: a megabyte or two each.
_INDEXED = (".tar", ".zip")
_INDICES = 256

# A container's file: local, or behind a URL.
File = Path | RemoteFile


def is_container(name: str) -> bool:
    """Whether a file is a container, by its name.

    Examples
    --------
    >>> [name for name in ("a.tar", "data_batch_1", "a.jpg", "train.parquet") if is_container(name)]
    ['a.tar', 'data_batch_1', 'train.parquet']
    """
    return _NAME.fullmatch(name) is not None


def find_member(path: str) -> tuple[str, str] | None:
    """Split a path into a container and a member of it; None where it leads into none.

    Examples
    --------
    >>> find_member("shards/003.tar/cat/1.jpg")
    ('shards/003.tar', 'cat/1.jpg')
    >>> find_member("cat/1.jpg")
    """
    found = _INNER.fullmatch(path)
    return (found[1], found[2]) if found else None


def open_container(file: File) -> Container:
    """Open a container, or return the one already open where its file has not changed.

    Raises
    ------
    BottleneckError
        It is not what its name says, or the library that reads it is not installed.
    OSError
        It may not be read, or is gone.
    """
    kept = isinstance(file, RemoteFile) and file.suffix.lower() in _INDEXED
    return (_open_index if kept else _open)(file, *stamp_of(file))


def stamp_of(file: File) -> tuple[int, int]:
    """Return size and modification time, or version, of a container. Its images change with it."""
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
    try:
        return _Guarded(kind(file), file)
    except (BottleneckError, OSError):
        raise
    except Exception as error:
        raise not_readable(file, "container", error) from error


_open_index = functools.lru_cache(maxsize=_INDICES)(_open.__wrapped__)


@dataclass(frozen=True)
class _Guarded:
    """A container whose every fault has a name.

    The libraries that read containers raise nearly anything on forged files. Whatever it is, that container or that
    image cannot be used, and all others can.
    """

    inner: Container
    file: File

    @property
    def folders(self) -> bool:
        return self.inner.folders

    def members(self) -> Sequence[Member]:
        try:
            return self.inner.members()
        except (BottleneckError, OSError):
            raise
        except Exception as error:
            raise not_readable(self.file, "container", error) from error

    def read(self, name: str) -> bytes:
        try:
            return self.inner.read(name)
        except (UnreadableImageError, BottleneckError, OSError):
            raise
        except Exception as error:
            raise UnreadableImageError(f"damaged in {self.file.name}: {describe(error)}") from error


def no_such_member(name: str) -> UnreadableImageError:
    """Make the error for a name that a container does not have."""
    return UnreadableImageError(f"the container has no {name!r} any more")


def not_readable(file: File, kind: str, error: object) -> BottleneckError:
    """Make the error for a file that is not what its name says."""
    return BottleneckError(f"{file} is not a readable {kind}: {describe(error)}")
