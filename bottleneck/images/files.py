"""Files of this machine's file system."""

import errno
import stat
from pathlib import Path

from bottleneck.images.decode import UnreadableImageError


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
        raise UnreadableImageError(why_unreadable(path, error)) from error


def why_unreadable(path: Path, error: OSError) -> str:
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
