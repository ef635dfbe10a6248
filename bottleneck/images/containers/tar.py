"""Tar archives, plain ones and those in WebDataset's form.

In that form [1]_ files that belong together have one name up to its first dot: ``0017.jpg`` is an image,
``0017.cls`` its label.

References
----------
.. [1] Aizman, Maltby and Breuel 2019, High Performance I/O For Large Scale Deep Learning.
"""

import errno
import io
import json
import posixpath
import tarfile
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.containers.members import label_text, name_members
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import find_size_problem
from bottleneck.images.names import clean_member_name, is_image_name
from bottleneck.images.reasons import describe

# Files beside an image that give its label, and the entry of a JSON object that does.
_LABELS = (".cls", ".txt", ".json")
_JSON_LABELS = ("label", "class", "cls")

# A label is a word or a number; what is longer is a caption.
_LONGEST_LABEL = 200

# No label is in a larger file.
_LARGEST_LABEL_FILE = 1 << 20

# A tar file ends in two blocks of zeros.
_END = bytes(1024)

# Links from one to the next that are followed, as many as Linux follows.
_MOST_LINKS = 40


class _Entry(NamedTuple):
    """Where a member's bytes are: in place, in pieces (`sparse`), or in another member (`link`)."""

    start: int = 0
    size: int = 0
    stored: int = 0
    problem: str | None = None
    sparse: tarfile.TarInfo | None = None
    link: str | None = None


class Tar:
    """A tar file that is not compressed, so that every image is read in place.

    One that was cut short gives the images before the cut.

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
        self._cut = ""
        names: list[str] = []
        entries: list[_Entry] = []
        try:
            self._list(names, entries)
        except BottleneckError:
            raise
        except Exception as error:  # tarfile raises nearly anything on damaged headers
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise  # the store or the disk, and not a position before the file's start
            if not entries:
                raise not_readable(
                    file, "tar file (a compressed one has to be unpacked first)", error
                ) from error
            self._cut = describe(error)
        named = name_members(names)
        self._entries = {
            name: entry if problem is None else _Entry(problem=problem)
            for entry, (name, problem, _) in zip(entries, named, strict=True)
        }
        self._outside = {name for name, _, placed in named if not placed}
        for name, entry in self._entries.items():
            if entry.link is not None:
                self._entries[name] = self._follow(name)

    def _list(self, names: list[str], entries: list[_Entry]) -> None:
        end = 0
        latest: dict[str, _Entry] = {}
        # members in pieces are read through it later
        self._archive = tarfile.open(fileobj=self._raw, mode="r:")  # noqa: SIM115 - it stays open
        while found := self._archive.next():
            self._archive.members = []  # type: ignore[attr-defined] # they are kept here, in a tenth of the memory
            if self._archive.offset <= end:
                self._cut = "a member of negative size"
                return
            end = self._archive.offset
            if found.isdir():
                continue
            # tarfile gives members in pieces the name they have for programs that do not know of pieces
            raw_name = found.pax_headers.get("GNU.sparse.name", found.name)
            name = clean_member_name(raw_name)[0]
            latest[name] = _describe_member(found, latest)
            names.append(raw_name)
            entries.append(latest[name])
        self._raw.seek(end)
        if self._raw.read(len(_END)) != _END:
            self._cut = "its end is missing"

    def _follow(self, name: str) -> _Entry:
        at, entry = name, self._entries[name]
        for _ in range(_MOST_LINKS):
            if entry.link is None:
                return entry
            target = posixpath.join(posixpath.dirname(at), entry.link)
            at, leads_out = clean_member_name(target)
            if leads_out or entry.link.startswith("/"):
                return _Entry(problem=f"a link out of the archive: to {entry.link!r}")
            if at not in self._entries:
                return _Entry(problem=f"a link to {entry.link!r}, which the archive does not have")
            entry = self._entries[at]
        return _Entry(problem="link loop: the link leads back to itself")

    def members(self) -> Sequence[Member]:
        """List the images, see `Container.members`."""
        labels: dict[str, tuple[str | None, str | None]] = {}
        for name in self._entries:
            if name.endswith(_LABELS):
                labels[_key(name)] = self._label(name)
        found: list[Member] = []
        is_cut_noted = not self._cut
        for name, entry in self._entries.items():
            if is_image_name(name):
                label, problem = labels.get(_key(name), (None, None))
                problem = self._find_problem(entry) or problem
                is_cut_noted |= self._lacking(entry) > 0
                placed = name not in self._outside
                found.append(Member(name, label, problem=problem, placed=placed))
        if not is_cut_noted:
            problem = f"the tar file is cut short here: {self._cut}"
            found.append(Member("…", problem=problem, placed=False))
        return found

    def read(self, name: str) -> bytes:
        """Read an image, see `Container.read`."""
        # listings of before names were cleaned have them as they are in the archive
        entry = self._entries.get(name) or self._entries.get(clean_member_name(name)[0])
        if entry is None:
            raise no_such_member(name)
        if problem := self._find_problem(entry):
            raise UnreadableImageError(problem)
        with self._reading:
            content = self._read(entry)
        if len(content) != entry.size:
            raise UnreadableImageError(
                f"damaged in the tar file: {len(content):,} bytes of {entry.size:,}"
            )
        return content

    def _read(self, entry: _Entry) -> bytes:
        if entry.sparse is None:
            self._raw.seek(entry.start)
            return self._raw.read(entry.size)
        try:
            pieces = self._archive.extractfile(entry.sparse)
            return pieces.read() if pieces is not None else b""
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise UnreadableImageError(f"damaged in the tar file: {describe(error)}") from error

    def _lacking(self, entry: _Entry) -> int:
        return entry.start + entry.stored - self._length if entry.problem is None else 0

    def _find_problem(self, entry: _Entry) -> str | None:
        if entry.problem is not None:
            return entry.problem
        lacking = self._lacking(entry)
        if lacking > 0:
            return f"the tar file ends {lacking:,} bytes before this image does"
        return find_size_problem(entry.size)

    def _label(self, name: str) -> tuple[str | None, str | None]:
        """Read a label, and the problem of the image it belongs to where it is of another kind."""
        if self._entries[name].size > _LARGEST_LABEL_FILE:
            return None, None
        try:
            text: object = self.read(name).decode().strip()
            if name.endswith(".json"):
                content = json.loads(str(text))
                text = next((content[key] for key in _JSON_LABELS if key in content), None)
        except (UnreadableImageError, ValueError, TypeError, RecursionError):
            return None, None
        try:
            label = label_text(text)
        except ValueError as error:
            return None, f"{name}: {error}"
        is_caption = label is None or len(label) > _LONGEST_LABEL or "\n" in label
        return (None if is_caption else label), None


def _describe_member(found: tarfile.TarInfo, latest: dict[str, _Entry]) -> _Entry:
    """Say where the bytes of a member are; `latest` has the members before it."""
    if found.islnk():
        # another name of a member before it, even if that name is used again later
        target, leads_out = clean_member_name(found.linkname)
        if leads_out:
            return _Entry(problem=f"a link out of the archive: to {found.linkname!r}")
        missing = f"a link to {found.linkname!r}, which the archive does not have before it"
        return latest.get(target, _Entry(problem=missing))
    if found.issym():
        return _Entry(link=found.linkname)
    if found.issparse():
        pieces: list[tuple[int, int]] = found.sparse  # type: ignore[assignment] # declared as bytes
        stored = sum(size for _, size in pieces)
        return _Entry(found.offset_data, found.size, stored, sparse=found)
    if found.isreg():
        return _Entry(found.offset_data, found.size, found.size)
    kind = "a device" if found.isdev() else f"of the unknown type {found.type!r}"
    return _Entry(problem=f"not a file but {kind}")


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.name.split(".")[0])
