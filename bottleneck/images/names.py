"""What files and folders are called."""

import re
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

# the names people give to the three splits, and the one name we use for each
SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


def is_picture(path: str) -> bool:
    """Tell by its name whether a file is a picture.

    Hidden files are not: ``.DS_Store``, ``._picture.jpg``, those in ``.ipynb_checkpoints``.

    Examples
    --------
    >>> is_picture("cat/1.JPG"), is_picture("cat/._1.jpg"), is_picture("cat/1.txt")
    (True, False, False)
    """
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and PurePosixPath(path).suffix.lower() in EXTENSIONS


def split_in(name: str) -> str | None:
    """Find the split that the name of a file or an array speaks of.

    Examples
    --------
    >>> [split_in(name) for name in ("train-00000-of-00002", "x_val", "test_images", "pictures")]
    ['train', 'val', 'test', None]
    """
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)
