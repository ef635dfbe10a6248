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
    "training": "train",
    "testing": "test",
    "eval": "test",
}

# Words that people join to these in names of folders: training_set, seg_train, images-test.
_SPLIT_FILLERS = frozenset(
    ["set", "data", "dataset", "seg", "image", "images", "img", "imgs", "split", "folder"]
)

# Names of folders that say "here are images" and name no class.
_GENERIC = frozenset(
    [
        *["image", "images", "img", "imgs", "picture", "pictures", "pics", "photo", "photos"],
        *["jpg", "jpeg", "jpegs", "png", "jpegimages", "data", "dataset", "files", "raw"],
        *["unlabelled", "unlabeled"],
    ]
)

# Names of folders beside train and test whose images nobody labelled.
_TO_PREDICT = frozenset(["pred", "predict", "prediction", "unlabelled", "unlabeled"])

# What operating systems and network storage add by themselves.
_JUNK = frozenset(
    ["__macosx", "@eadir", "$recycle.bin", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"]
)


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


def is_junk(name: str) -> bool:
    """Tell whether a file or folder is hidden or was added by an operating system.

    Examples
    --------
    >>> [is_junk(name) for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "Thumbs.db", "cat")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _JUNK


def is_generic(folder: str) -> bool:
    """Tell whether the name of a folder only says that images are in it.

    Examples
    --------
    >>> [is_generic(name) for name in ("images", "JPEGImages", "cat")]
    [True, True, False]
    """
    return folder.strip().lower() in _GENERIC


def split_of_folder(folder: str) -> str | None:
    """Find the split that a folder stands for, by the usual names in any case.

    Examples
    --------
    >>> [split_of_folder(name) for name in ("Training", "test_set", "seg_train", "val2017", "trainer")]
    ['train', 'test', 'train', 'val', None]
    """
    words = [SPLITS[word] for word in _words(folder) if word in SPLITS]
    others = [word for word in _words(folder) if word not in SPLITS and word not in _SPLIT_FILLERS]
    return words[0] if len(words) == 1 and not others else None


def is_to_predict(folder: str) -> bool:
    """Tell whether a folder beside split folders holds images without labels.

    Examples
    --------
    >>> is_to_predict("seg_pred"), is_to_predict("test")
    (True, False)
    """
    words = [word for word in _words(folder) if word not in _SPLIT_FILLERS]
    return len(words) == 1 and words[0] in _TO_PREDICT


def _words(folder: str) -> list[str]:
    """Split a name into words; a number at its end, as in val2017 or test1, is no word."""
    if not re.fullmatch(r"[A-Za-z _.-]+\d*", folder):
        return [folder.lower()]
    joined = re.sub(r"(train|training|test|testing|val|validation)set$", r"\1_set", folder.lower())
    return [word for word in re.split(r"[^a-z]+", joined) if word]
