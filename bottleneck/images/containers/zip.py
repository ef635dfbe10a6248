"""Zip archives."""

import zipfile
import zlib
from collections.abc import Sequence

from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.names import is_picture

# No picture is as large; a few kilobytes of zip can be made to unpack to more than any memory holds.
_LARGEST = 1 << 30

_ENCRYPTED = 0x1  # a bit of a member's flags


class Zip:
    """A zip file, read without unpacking.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no zip file, or damaged as a whole.
    """

    folders = True

    def __init__(self, file: File) -> None:
        try:
            self._archive = zipfile.ZipFile(file.open("rb"))
        except zipfile.BadZipFile as error:
            raise not_readable(file, "zip file", error) from error
        self._entries = {each.filename: each for each in self._archive.infolist()}

    def members(self) -> Sequence[Member]:
        """List the pictures, see `Container.members`."""
        return [
            Member(name, problem=_problem(entry))
            for name, entry in self._entries.items()
            # what macOS adds to each file is no picture of its own
            if is_picture(name) and not name.startswith("__MACOSX/")
        ]

    def read(self, name: str) -> bytes:
        """Read a picture, see `Container.read`."""
        entry = self._entries.get(name)
        if entry is None:
            raise no_such_member(name)
        if problem := _problem(entry):
            raise UnreadableImageError(problem)
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise UnreadableImageError(f"damaged in the zip file: {error}") from error


def _problem(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & _ENCRYPTED:
        return "encrypted in the zip file"
    if entry.file_size > _LARGEST:
        return f"would unpack to {entry.file_size:,} bytes; no more than {_LARGEST:,} are taken"
    return None
