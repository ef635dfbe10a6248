"""Sources of images: a folder tree, a flat folder, a CSV file, containers or a single image."""

import csv
import io
import os
import posixpath
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.archives import (
    list_all_members,
    list_members,
    read_container,
    read_containers,
)
from bottleneck.images.containers.container import is_container
from bottleneck.images.folders import Found, Skipped, has_image_extension, label_images, read_folder
from bottleneck.images.image_set import ImageFile, ImageSet
from bottleneck.images.layout import DEFAULT, LayoutOptions
from bottleneck.images.names import EXTENSIONS, SPLITS, is_junk
from bottleneck.images.place import Stamp
from bottleneck.remote import Remote, clean_url, is_url, join_url
from bottleneck.remote_file import RemoteFile

__all__ = ["ImageFile", "ImageSet", "read_source"]

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def read_source(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    label_column: str | None = None,
    split_column: str | None = None,
    skip_missing: bool = False,
    layout: LayoutOptions = DEFAULT,
) -> ImageSet:
    """List the images that a folder, a CSV file or a single file names.

    Parameters
    ----------
    source : path
        A folder of class folders; a folder of ``train/``, ``val/`` and ``test/``, or of folders with other usual
        names of splits, above class folders; a flat folder; a ``.csv`` file; one image; or a container of
        many (``.tar``, ``.zip``, ``.parquet``, ``.npz``, ``.h5``, CIFAR-10's batches), or a folder of such.
    root : path, optional
        For a CSV: the folder its paths start from. By default the folder the CSV lies in.
    path_column, label_column, split_column : str, optional
        For a CSV: names of its columns. ``label`` and ``split`` are used where they exist and
        nothing else is asked for.
    skip_missing : bool
        For a CSV: take rows whose file does not exist, as failed images, rather than refuse.
    layout : LayoutOptions
        For folders and archives: how to read them, if not as recognised.

    Returns
    -------
    ImageSet

    Raises
    ------
    BottleneckError
        The source does not exist, names no image, or its layout has two readings.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> top = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("train/cat/1.jpg", "train/dog/2.jpg", "validation/dog/3.jpg"):
    ...     (top / name).parent.mkdir(parents=True, exist_ok=True)
    ...     (top / name).touch()
    >>> [(f.label, f.split) for f in read_source(top).files]
    [('cat', 'train'), ('dog', 'train'), ('dog', 'val')]
    """
    if is_url(source):
        url = clean_url(str(source))
        images = _read_remote(
            url, root, path_column, label_column, split_column, skip_missing, layout
        )
        return _refuse_empty(url, images)
    place = Path(source)
    if not os.path.lexists(place):
        raise BottleneckError(
            f"no such folder or file: {place} (expected a folder of images, or a CSV that names them)"
        )
    if place.suffix.lower() == ".csv" and place.is_file():
        images = _read_csv(
            place, root or place.parent, path_column, label_column, split_column, skip_missing
        )
    elif root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {place} is not one")
    elif place.is_dir():
        images, _ = read_folder(place, layout)
        if not images.files:
            images = read_containers(place, images.ignored, layout)
    elif is_container(place.name):
        images = read_container(place, layout)
    elif place.name.lower().endswith(_COMPRESSED):
        raise BottleneckError(
            f"{place} is compressed as a whole, so no image in it can be read by itself; unpack it, and give the "
            "folder or the .tar file"
        )
    else:
        images = ImageSet(str(place.parent.resolve()), (ImageFile(place.name),))
    return _refuse_empty(place, images)


def _refuse_empty(place: Path | str, images: ImageSet) -> ImageSet:
    if not images.files:
        passed = f"; files passed over: {', '.join(images.ignored)}" if images.ignored else ""
        raise BottleneckError(
            f"no pictures in {place} (expected files ending in .jpg, .png … in it or in folders below){passed}"
        )
    return images


# --- behind a URL


def _read_remote(
    url: str,
    root: str | os.PathLike[str] | None,
    path_column: str,
    label_column: str | None,
    split_column: str | None,
    skip_missing: bool,
    layout: LayoutOptions,
) -> ImageSet:
    folder, _, name = url.rpartition("/")
    if name.lower().endswith(".csv"):
        return _read_csv(url, root or folder, path_column, label_column, split_column, skip_missing)
    if root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {url} is not one")
    if is_container(name) and Remote(url).is_file():
        files, notes = list_members(RemoteFile(Remote(folder), name), name, layout)
        return ImageSet(folder, tuple(files), notes=notes)
    place, skipped = Remote(url), Skipped()
    if os.path.splitext(name)[1].lower() in EXTENSIONS and place.is_file():
        return ImageSet(folder, (ImageFile(name, stamp=_telling(place.look())),))
    there = {
        path: stamp
        for path, stamp in place.find().items()
        if not any(map(is_junk, path.split("/")))
    }
    found: list[Found] = [
        (path, path.rpartition("/")[0], None, _telling(stamp))
        for path, stamp in there.items()
        if has_image_extension(path, skipped)
    ]
    passed = tuple(sorted(skipped.extensions))
    if found:
        labelled, notes = label_images(url, sorted(found, key=itemgetter(0)), layout)
        return ImageSet(url, labelled, passed, notes)
    within = {
        path: RemoteFile(place, path, stamp)
        for path, stamp in sorted(there.items())
        if is_container(path)
    }
    files, notes = list_all_members(within, layout)
    return ImageSet(url, tuple(files), passed, notes)


def _telling(stamp: Stamp | None) -> Stamp | None:
    """Pass over what says nothing of the content: an index of a web server names files, and no more."""
    return None if stamp is None or stamp[1] == -1 else stamp


# --- CSV


def _read_csv(
    file: Path | str,
    root: str | os.PathLike[str],
    path_column: str,
    label_column: str | None,
    split_column: str | None,
    skip_missing: bool,
) -> ImageSet:
    if is_url(root):
        root = clean_url(str(root))
    elif os.path.isdir(root):
        root = str(Path(root).resolve())
    else:
        raise BottleneckError(f"--root {root} is not a folder, or may not be entered")
    content = Remote(str(file)).read() if is_url(file) else _content(Path(file))
    try:
        # utf-8-sig: spreadsheets begin their files with a byte order mark
        text = content.decode("utf-8-sig", errors="surrogateescape")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        header = list(reader.fieldnames or [])
        label_column = _optional_column(file, header, label_column, "label", "--label-column")
        split_column = _optional_column(file, header, split_column, "split", "--split-column")
        _require_column(file, header, path_column, "--path-column")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BottleneckError(f"{file} is not a readable CSV file: {error}") from error

    files: dict[str, ImageFile] = {}
    lines_of: dict[str, int] = {}
    for line, row in rows:
        named = row.get(path_column) or ""
        if not named or "\0" in named:
            raise BottleneckError(
                f"{file}, line {line}: expected the path of a picture in column {path_column!r}, found {named!r}"
            )
        path = _relative(named, root)
        label = (row.get(label_column) or None) if label_column else None
        split = _split_of(file, line, (row.get(split_column) or "") if split_column else "")
        entry = ImageFile(path, label, split)
        if files.setdefault(path, entry) != entry:
            raise BottleneckError(
                f"{file}: lines {lines_of[path]} and {line} give {named!r} different labels or splits"
            )
        lines_of.setdefault(path, line)
    stamps = _stamps(root, files)
    missing = [path for path, stamp in stamps.items() if stamp is None]
    missing += [path for path in files if path not in stamps and not _exists(root, path)]
    if missing and not skip_missing:
        raise BottleneckError(
            f"{file} names {len(missing)} of {len(files)} files that do not exist below {root}, the first "
            f"{missing[0]!r}; say where they are with --root, or go on without them with --skip-missing"
        )
    found = (entry._replace(stamp=_telling(stamps.get(path))) for path, entry in files.items())
    return ImageSet(root, tuple(found))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BottleneckError(f"cannot read {file}: {error.strerror}") from error


def _exists(root: str, path: str) -> bool:
    return os.path.lexists(os.path.join(root, path))


def _stamps(root: str, paths: Iterable[str]) -> dict[str, Stamp | None]:
    """Look at those of the files that lie behind URLs; of those that are not there there is None."""
    distant = [path for path in paths if is_url(root) or is_url(path)]
    if not distant:
        return {}
    from bottleneck.images.remote import look_at

    return look_at(root, distant)


def _require_column(file: Path | str, header: list[str], column: str, option: str) -> None:
    if column not in header:
        found = ", ".join(header) or "no header line"
        raise BottleneckError(
            f"{file} has no column {column!r}; it has: {found}. Name the right one with {option}"
        )


def _optional_column(
    file: Path | str, header: list[str], asked: str | None, usual: str, option: str
) -> str | None:
    if asked is not None:
        _require_column(file, header, asked, option)
        return asked
    return usual if usual in header else None


def _relative(named: str, root: str) -> str:
    if is_url(named) or is_url(root):
        path = clean_url(named) if is_url(named) else join_url(root, posixpath.normpath(named))
        return path.removeprefix(f"{root}/")
    path = os.path.normpath(os.path.join(root, named))
    return path[len(str(root)) + 1 :] if path.startswith(f"{root}{os.sep}") else path


def _split_of(file: Path | str, line: int, value: str) -> str | None:
    if not value:
        return None
    if value.lower() not in SPLITS:
        raise BottleneckError(
            f"{file}, line {line}: unknown split {value!r}; expected one of {', '.join(SPLITS)} or nothing"
        )
    return SPLITS[value.lower()]
