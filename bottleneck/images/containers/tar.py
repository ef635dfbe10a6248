"""Tar archives, plain ones and those in WebDataset's form.

In that form [1]_ files that belong together bear one name up to its first dot: ``0017.jpg`` is a picture,
``0017.cls`` its label.

References
----------
.. [1] Aizman, Maltby and Breuel 2019, High Performance I/O For Large Scale Deep Learning.
"""

import io
import json
import tarfile
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.names import is_picture

# Files beside a picture that say what it shows, and the entry of a JSON object that does.
_LABELS = (".cls", ".txt", ".json")
_JSON_LABELS = ("label", "class", "cls")

# A label is a word or a number; what is longer is a caption.
_LONGEST_LABEL = 200

# A tar file ends in two blocks of zeros.
_END = bytes(1024)


class _Entry(NamedTuple):
    start: int
    size: int


class Tar:
    """A tar file that is not compressed, so that every picture is read where it lies.

    One that was cut short gives the pictures before the cut.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such file.
    """

    folders = True

    def __init__(self, file: File) -> None:
        self._raw = file.open("rb")
        self._reading = threading.Lock()
        self._length = self._raw.seek(0, io.SEEK_END)
        self._raw.seek(0)
        self._entries: dict[str, _Entry] = {}
        self._cut = ""
        try:
            self._list()
        except tarfile.TarError as error:
            if not self._entries:
                raise not_readable(
                    file, "tar file (a compressed one has to be unpacked first)", error
                ) from error
            self._cut = str(error)

    def _list(self) -> None:
        end = 0
        with tarfile.open(fileobj=self._raw, mode="r:") as archive:
            while found := archive.next():
                end = found.offset_data + -(-found.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if found.isreg():
                    self._entries[found.name] = _Entry(found.offset_data, found.size)
                archive.members = []  # type: ignore[attr-defined] # they are kept here, in a tenth of the room
        self._raw.seek(end)
        if self._raw.read(len(_END)) != _END:
            self._cut = "its end is missing"

    def members(self) -> Sequence[Member]:
        """List the pictures, see `Container.members`."""
        labels = {name: _key(name) for name in self._entries if name.endswith(_LABELS)}
        said = {key: self._label(name) for name, key in labels.items()}
        found = [
            Member(name, said.get(_key(name)), problem=self._problem(entry))
            for name, entry in self._entries.items()
            if is_picture(name)
        ]
        if self._cut and not (found and found[-1].problem):
            found.append(Member("…", problem=f"the tar file is cut short here: {self._cut}"))
        return found

    def read(self, name: str) -> bytes:
        """Read a picture, see `Container.read`."""
        entry = self._entries.get(name)
        if entry is None:
            raise no_such_member(name)
        if problem := self._problem(entry):
            raise UnreadableImageError(problem)
        with self._reading:
            self._raw.seek(entry.start)
            return self._raw.read(entry.size)

    def _problem(self, entry: _Entry) -> str | None:
        lacking = entry.start + entry.size - self._length
        return (
            f"the tar file ends {lacking:,} bytes before this picture does" if lacking > 0 else None
        )

    def _label(self, name: str) -> str | None:
        try:
            text = self.read(name).decode().strip()
            if name.endswith(".json"):
                content = json.loads(text)
                values = (content[key] for key in _JSON_LABELS if key in content)
                text = str(next(values, ""))
        except (UnreadableImageError, ValueError, TypeError):
            return None
        return text if 0 < len(text) <= _LONGEST_LABEL and "\n" not in text else None


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.name.split(".")[0])
