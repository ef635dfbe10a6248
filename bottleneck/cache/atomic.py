"""Files and folders that are either whole or not there."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bottleneck.errors import BottleneckError

# Begins with a dot so that listings of a folder leave it out; what a killed process leaves behind
# is told by it.
TEMPORARY = ".unfinished-"

# Seconds for which an unfinished folder is left alone: one that was just created may not be locked yet.
_YOUNG = 60

# full disk, quota used up, largest file the system or `ulimit -f` allows
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that no moment exists at which it is there and not whole.

    The data go to a temporary name in the same folder, are flushed to the disk, and take their name
    by a rename; then the folder is flushed too, so that the name survives a power cut.

    Raises
    ------
    BottleneckError
        There is no room left. Nothing is left behind.
    OSError
        Any other fault of the file system.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise BottleneckError(
                f"no room to write {len(data):,} bytes in {path.parent} ({error.strerror}); what was written before is "
                "kept. Make room, or choose another disk, and run the same command again to go on"
            ) from error
        raise


def write_output(path: Path, data: bytes) -> None:
    """Write a file a user named: all of it or nothing, except where a pipe or a device has the name.

    Raises
    ------
    BottleneckError
        There is no room left. Nothing is left behind.
    OSError
        Any other fault of the file system.
    """
    if path.exists() and not path.is_file():  # nothing may replace /dev/stdout
        path.write_bytes(data)
    else:
        write_atomically(path.resolve(), data)  # a link stays one


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read it; a named pipe in its place would keep the reader waiting.

    Raises
    ------
    OSError
        It cannot be opened, or is a pipe, a device, a socket or a folder.
    """
    # without waiting: a pipe opens only when somebody writes to it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Read all of a regular file, see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


@contextlib.contextmanager
def new_folder(path: Path, what: str, mend: str) -> Iterator[Path]:
    """Give a folder to write into; it takes its name when all of it is there.

    Parameters
    ----------
    path : Path
        Its name, which nothing may have yet.
    what, mend : str
        For messages: what it will hold, such as ``a run``, and how to choose another name.

    Raises
    ------
    BottleneckError
        The name is taken already, or the folder cannot be made.
    """
    refuse_taken(path, what, mend)
    # in the same folder, so that the rename at the end does not cross file systems
    unfinished = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        unfinished.mkdir(parents=True)
        remove_abandoned(path.parent)
        # the system releases the lock when we are killed
        with _locked(unfinished):
            yield unfinished
            unfinished.rename(path)
    except OSError as error:
        raise BottleneckError(
            f"cannot write {what} to {path}: {error.strerror or error}; {mend}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder if nobody else has; tell whether it is locked. Not every file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except OSError:
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)


def remove_abandoned(parent: Path) -> None:
    """Remove unfinished folders whose process is gone, see `new_folder`."""
    for folder in parent.glob(f"{TEMPORARY}????????-*"):
        # where it cannot be told whether its process is gone, it stays
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _YOUNG:
                with _locked(folder) as is_abandoned:
                    if is_abandoned:
                        shutil.rmtree(folder)


def refuse_taken(path: str | os.PathLike[str], what: str, mend: str) -> None:
    """Refuse a name that something has, see `new_folder`."""
    if os.path.lexists(path):
        raise BottleneckError(f"{path} exists already and {what} is never overwritten; {mend}")


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed writer left behind. Only for who holds the writer's lock."""
    for file in folder.glob(f"{TEMPORARY}*"):
        file.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
