"""Zip archives."""

import bz2
import copy
import io
import lzma
import zipfile
import zlib
from collections.abc import Sequence

from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.containers.members import name_members
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import find_size_problem
from bottleneck.images.names import clean_member_name, is_image_name
from bottleneck.images.reasons import describe

# What begins each member of a zip file.
_MEMBER = b"PK\x03\x04"

_ENCRYPTED = 0x1  # a bit of a member's flags

# Compression methods that zipfile unpacks no further than asked.
_MEASURED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

# Bytes that the dictionary of LZMA may take: its highest preset takes 65 MB.
_LZMA_MEMORY = 256 << 20

# No kilobyte of the deflate format unpacks to more kilobytes than this.
_HIGHEST_RATIO = 1032

# What a damaged member makes zipfile raise.
_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
)


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
        self._archive = open_zip(file, "zip file")
        listed = self._archive.infolist()
        named = name_members([each.filename for each in listed])
        self._entries = {
            name: (entry, problem or _find_problem(entry), placed)
            for entry, (name, problem, placed) in zip(listed, named, strict=True)
        }

    def members(self) -> Sequence[Member]:
        """List the images, see `Container.members`."""
        return [
            Member(name, problem=problem, placed=placed)
            for name, (_, problem, placed) in self._entries.items()
            # what macOS adds to each file is no image of its own
            if is_image_name(name) and not name.startswith("__MACOSX/")
        ]

    def read(self, name: str) -> bytes:
        """Read an image, see `Container.read`."""
        # listings of before names were cleaned have them as they are in the archive
        found = self._entries.get(name) or self._entries.get(clean_member_name(name)[0])
        if found is None:
            raise no_such_member(name)
        entry, problem, _ = found
        if problem is not None:
            raise UnreadableImageError(problem)
        try:
            return read_member(self._archive, entry)
        except _FAULTS as error:
            raise UnreadableImageError(f"damaged in the zip file: {describe(error)}") from error


def open_zip(file: File, kind: str) -> zipfile.ZipFile:
    """Open a zip file, and make sure that it is the whole of the file.

    Raises
    ------
    BottleneckError
        It is no zip file, or cut short.
    """
    raw = file.open("rb")
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile as error:
        raise not_readable(file, kind, error) from error
    raw.seek(0, io.SEEK_SET)
    begins = raw.read(len(_MEMBER)) == _MEMBER
    if begins and min((each.header_offset for each in archive.infolist()), default=1) > 0:
        # a zip file may follow a program that unpacks it, but not another zip file
        reason = "it is cut short: the directory at its end is that of another zip file inside it"
        raise not_readable(file, kind, reason)
    return archive


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack a member, and never more than the size it says it has.

    Raises
    ------
    BadZipFile and others
        It is damaged.
    """
    if entry.compress_type in _MEASURED:
        with archive.open(entry) as packed:
            content = packed.read(entry.file_size)
    else:
        content = _unpack(archive, entry)
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile(f"{len(content):,} bytes, expected {entry.file_size:,}")
    return content


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack bzip2 and LZMA, for which zipfile itself has no limit: a hundred bytes can unpack to gigabytes."""
    stored = copy.copy(entry)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, entry.compress_size
    stored.CRC = None  # type: ignore[assignment] # that of the unpacked bytes is checked below
    with archive.open(stored) as packed:
        data = packed.read(entry.compress_size)
    most = entry.file_size + 1
    if entry.compress_type == zipfile.ZIP_BZIP2:
        content = bz2.BZ2Decompressor().decompress(data, most)
    elif entry.compress_type == zipfile.ZIP_LZMA:
        # its properties follow four bytes of versions and lengths; with a size they are the header of an .lzma file
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
        content = unpacker.decompress(data[4:9] + b"\xff" * 8 + data[9:], most)
    else:
        raise NotImplementedError(f"unknown compression method {entry.compress_type}")
    if len(content) < most and zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile("Bad CRC-32")
    return content


def exceeds_packed(entry: zipfile.ZipInfo) -> bool:
    """Whether a member says it unpacks to more than its packed bytes can hold."""
    return (
        entry.compress_type in _MEASURED
        and entry.file_size > (entry.compress_size + 1) * _HIGHEST_RATIO
    )


def _find_problem(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & _ENCRYPTED:
        return "encrypted in the zip file"
    return find_size_problem(entry.file_size)
