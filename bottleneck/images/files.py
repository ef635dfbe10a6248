"""Image files of the local file system, and the limit on their size."""

import errno
import os
import stat
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.reasons import describe

# No image within `bottleneck.images.decode.MAX_PIXELS` is larger in 8 or 16 bit, so it limits damage and attacks only:
# a sparse file of 10 GB, or a few kilobytes of zip that unpack to more than the memory holds.
MAX_BYTES = 1 << 30

_OPTION = "BOTTLENECK_MAX_BYTES"


def read_bytes(path: Path) -> bytes:
    """Read a whole image file.

    Raises
    ------
    UnreadableImageError
        The file is missing, no regular file, too large, or may not be read.
    """
    try:
        # before opening: opening a named pipe waits until somebody writes to it
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableImageError("not a regular file")
        if problem := find_size_problem(found.st_size, "has"):
            raise UnreadableImageError(problem)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(why_unreadable(path, error)) from error


def find_size_problem(size: int, verb: str = "would unpack to") -> str | None:
    """Say why an image, or what has to be unpacked to read it, is too large; None where it is not.

    Examples
    --------
    >>> find_size_problem(5 << 28)
    'would unpack to 1,342,177,280 bytes, and the limit is 1,073,741,824; to read it: BOTTLENECK_MAX_BYTES=1342177280'
    """
    limit = _read_limit()
    if size <= limit:
        return None
    return f"{verb} {size:,} bytes, and the limit is {limit:,}; to read it: {_OPTION}={size}"


def _read_limit() -> int:
    asked = os.environ.get(_OPTION)
    if asked is None:
        return MAX_BYTES
    if not asked.isdecimal() or int(asked) < 1:
        raise BottleneckError(
            f"the environment variable {_OPTION} is {asked!r}; expected a number of bytes from 1"
        )
    return int(asked)


def why_unreadable(path: Path, error: OSError) -> str:
    """Describe in plain words why the operating system did not open a file."""
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return f"broken link: {str(path.readlink())!r} does not exist"
        return "no such file: it was moved or deleted"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    if error.errno == errno.ELOOP:
        return "link loop: the link leads back to itself"
    return f"cannot be read: {error.strerror or describe(error)}"
