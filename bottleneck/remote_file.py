"""An object behind a URL, read as a file: in blocks, for what wants to go back and forth in it."""

import io
import os
import posixpath
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bottleneck.remote import Object, Remote, RemoteError, join_url

# Bytes of an object that are asked for at once where it is read as a file: long enough that the time to answer
# does not count. Pictures in an archive are read in their order, so the next are in it too.
BLOCK = 8 * 2**20
# Blocks kept for all files together: what threads that read beside each other look at.
_KEPT_BYTES = 8 * BLOCK


class _Blocks(io.RawIOBase):
    """An object as a file that is read in blocks, of which those of latest use are kept.

    Parameters
    ----------
    remote : Remote
    path : str
    found : Object
        What the store says of it.
    size : int
        Of a block, in bytes.
    """

    def __init__(self, remote: Remote, path: str, found: Object, size: int) -> None:
        if found.size < 0:
            raise RemoteError(
                f"{join_url(remote.url, path)} cannot be read in parts, for its store does not tell its size",
                "its store does not tell its size",
            )
        self._remote, self._path, self._found, self._block = remote, path, found, size
        self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence, self._found.size)
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readall(self) -> bytes:
        return self.read(max(self._found.size - self._place, 0)) or b""

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._found.size)
        if end <= self._place:
            return 0
        first, last = self._place // self._block, (end - 1) // self._block
        start = self._place
        if last - first > 1:  # longer than a block: nobody asks for it twice
            data = self._remote.read(self._path, start, end)
        else:
            blocks = b"".join(self._read_block(number) for number in range(first, last + 1))
            data = blocks[start - first * self._block : end - first * self._block]
        # a memoryview keeps its length: a short answer assigned to a slice of a bytearray would shrink the
        # buffer, and the caller would read whatever lies behind it
        memoryview(buffer)[: end - start] = data
        self._place = end
        return end - start

    def _read_block(self, number: int) -> bytes:
        key = (self._remote.url, self._path, self._found, self._block, number)
        with _keeping:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
        start = number * self._block
        data = self._remote.read(self._path, start, min(start + self._block, self._found.size))
        with _keeping:
            _kept[key] = data
            while sum(map(len, _kept.values())) > _KEPT_BYTES:
                _kept.popitem(last=False)
        return data


_kept: OrderedDict[tuple[str, str, Object, int, int], bytes] = OrderedDict()
_keeping = threading.Lock()


@dataclass(frozen=True)
class RemoteFile:
    """An object, with as much of `pathlib.Path` as it takes to read it as a file.

    Attributes
    ----------
    remote : Remote
    path : str
        Relative to its URL.
    known : Object, optional
        What the store said of it before.
    """

    remote: Remote
    path: str
    known: Object | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return join_url(self.remote.url, self.path)

    def __truediv__(self, path: str) -> "RemoteFile":
        return RemoteFile(self.remote, posixpath.normpath(posixpath.join(self.path, path)))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return posixpath.basename(self.path)

    @property
    def suffix(self) -> str:
        """What its name ends in."""
        return posixpath.splitext(self.path)[1]

    @property
    def parent(self) -> "RemoteFile":
        """The folder it lies in."""
        return RemoteFile(self.remote, posixpath.dirname(self.path))

    @cached_property
    def found(self) -> Object:
        """What the store says of it."""
        return self.remote.look(self.path) if self.known is None else self.known

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.known is not None or self.remote.is_file(self.path)

    def open(self, mode: str = "rb", buffering: int = BLOCK) -> io.RawIOBase:
        """Open it for reading, so many bytes with each request."""
        assert mode == "rb"
        return _Blocks(self.remote, self.path, self.found, buffering)

    def read_bytes(self) -> bytes:
        """Read all of it."""
        return self.remote.read(self.path)

    def read_text(self, encoding: str) -> str:
        """Read all of it as text."""
        return self.read_bytes().decode(encoding)
