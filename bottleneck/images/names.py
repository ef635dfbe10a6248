"""Names of files, folders and members of archives."""

import posixpath
import re
import unicodedata
from pathlib import PurePosixPath

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".webp",
        ".avif",
        ".jp2",
        ".j2k",
        ".ppm",
        ".pgm",
        ".pbm",
        ".tga",
    ]
)

# Common names of the three splits, and the one name used here for each.
SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


def is_image_name(path: str) -> bool:
    """Whether a file is an image, by its name.

    Hidden files are not: ``.DS_Store``, ``._image.jpg``, those in ``.ipynb_checkpoints``.

    Examples
    --------
    >>> is_image_name("cat/1.JPG"), is_image_name("cat/._1.jpg"), is_image_name("cat/1.txt")
    (True, False, False)
    """
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and PurePosixPath(path).suffix.lower() in EXTENSIONS


def split_in(name: str) -> str | None:
    """Find the split in the name of a file or an array.

    Examples
    --------
    >>> [split_in(name) for name in ("train-00000-of-00002", "x_val", "test_images", "images")]
    ['train', 'val', 'test', None]
    """
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


_DRIVE = re.compile(r"[A-Za-z]:/")


def clean_member_name(name: str) -> tuple[str, bool]:
    r"""Bring the name of an archive's member to the one form that labels and splits are read from.

    As programs that unpack archives do, it takes ``\`` for ``/`` and drops drive letters and the ``/`` of
    absolute names. Unicode is composed (NFC), so a name written on macOS equals the same name written elsewhere.

    Returns
    -------
    name : str
        Relative, without ``.`` and empty parts, and without ``..`` except at its beginning.
    leads_out : bool
        Whether it begins with ``..``, so that it names nothing inside the archive.

    Examples
    --------
    >>> clean_member_name("./train//cat/1.png"), clean_member_name("C:\\pets\\cat\\1.png")
    (('train/cat/1.png', False), ('pets/cat/1.png', False))
    >>> clean_member_name("dog/../cat/1.png"), clean_member_name("cat/../../1.png")
    (('cat/1.png', False), ('../1.png', True))
    """
    path = unicodedata.normalize("NFC", name).replace("\\", "/").lstrip("/")
    path = path[2:].lstrip("/") if _DRIVE.match(path) else path
    path = posixpath.normpath(path) if path else "."
    return ("" if path == "." else path), path.split("/", 1)[0] == ".."
