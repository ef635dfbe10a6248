"""Sources of images: a folder tree, a flat folder, a CSV file, containers or a single image."""

import os
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
from bottleneck.images.folder_tables import add_tables
from bottleneck.images.folders import Found, Skipped, has_image_extension, label_images, read_folder
from bottleneck.images.image_set import ImageFile, ImageSet
from bottleneck.images.layout import DEFAULT, LayoutOptions
from bottleneck.images.names import EXTENSIONS, is_junk
from bottleneck.images.table_columns import Columns
from bottleneck.images.tables import is_table, read_table, stamp_that_tells
from bottleneck.remote import Remote, clean_url, is_url
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
        names of splits, above class folders; a flat folder; a ``.csv`` or ``.tsv`` file; one image; or a container of
        many (``.tar``, ``.zip``, ``.parquet``, ``.npz``, ``.h5``, CIFAR-10's batches), or a folder of such.
    root : path, optional
        For a CSV: the folder its paths start from. By default the folder the CSV lies in.
    path_column, label_column, split_column : str, optional
        For a CSV: names of its columns, without regard to case and spaces. By default ``path``, ``label``
        and ``split`` are used, or the column that holds paths and the one with a usual name of labels.
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
    columns = Columns(path_column, label_column, split_column)
    if is_url(source):
        url = clean_url(str(source))
        images = _read_remote(url, root, columns, skip_missing, layout)
        return _refuse_empty(url, images)
    place = Path(source)
    if not os.path.lexists(place):
        raise BottleneckError(
            f"no such folder or file: {place} (expected a folder of images, or a CSV that names them)"
        )
    if is_table(place.name) and place.is_file():
        _refuse_layout_options(layout, place)
        images = read_table(
            place, root or place.parent, columns, skip_missing=skip_missing, options=layout
        )
    elif root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {place} is not one")
    elif place.is_dir():
        images, tables = read_folder(place, layout)
        if not images.files:
            images = read_containers(place, images.ignored, layout)
        elif layout == DEFAULT:
            images = add_tables(place, images, tables)
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


def _refuse_layout_options(layout: LayoutOptions, table: Path | str) -> None:
    """Refuse options for folders beside a table, whose columns say the same."""
    given = {
        "--splits": layout.splits != DEFAULT.splits,
        "--classes-at": layout.classes_at is not None,
        "--label-pattern": layout.label_pattern is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise BottleneckError(
                f"{option} goes with a folder or an archive, and {table} is a table; leave it out, and name "
                "columns with --label-column and --split-column"
            )


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
    columns: Columns,
    skip_missing: bool,
    layout: LayoutOptions,
) -> ImageSet:
    folder, _, name = url.rpartition("/")
    if is_table(name):
        _refuse_layout_options(layout, url)
        return read_table(url, root or folder, columns, skip_missing=skip_missing, options=layout)
    if root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {url} is not one")
    if is_container(name) and Remote(url).is_file():
        files, notes = list_members(RemoteFile(Remote(folder), name), name, layout)
        return ImageSet(folder, tuple(files), notes=notes)
    place, skipped = Remote(url), Skipped()
    if os.path.splitext(name)[1].lower() in EXTENSIONS and place.is_file():
        return ImageSet(folder, (ImageFile(name, stamp=stamp_that_tells(place.look())),))
    there = {
        path: stamp
        for path, stamp in place.find().items()
        if not any(map(is_junk, path.split("/")))
    }
    found: list[Found] = [
        (path, path.rpartition("/")[0], None, stamp_that_tells(stamp))
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
