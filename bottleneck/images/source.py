"""Where pictures come from: a folder tree, a flat folder, a CSV file, containers or a single picture."""

import csv
import io
import itertools
import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import is_container, open_container, stamp_of
from bottleneck.images.names import EXTENSIONS, SPLITS, split_in
from bottleneck.images.place import Stamp
from bottleneck.remote import Remote, clean_url, is_url, join_url
from bottleneck.remote_file import RemoteFile


class ImageFile(NamedTuple):
    """One picture of a set, not opened yet.

    Attributes
    ----------
    path : str
        Relative to the set's root, or absolute where it lies outside.
    label : str or None
        Its class, where one is given.
    split : {"train", "val", "test"} or None
        The part of the data it was assigned to, where the source says so.
    problem : str or None
        Why it cannot be read, where that is plain from the folder alone (a link loop).
    stamp : Stamp or None
        Where it was looked at.
    """

    path: str
    label: str | None = None
    split: str | None = None
    problem: str | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True)
class ImageSet:
    """The pictures a source names, in a fixed order.

    Attributes
    ----------
    root : str
        What paths start from, see `bottleneck.images.place.open_place`.
    files : tuple of ImageFile
        Sorted by path for folders, in the order of the rows for a CSV.
    ignored : tuple of str
        Extensions of the files passed over because they are not those of pictures, each once.
    """

    root: str
    files: tuple[ImageFile, ...]
    ignored: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in use, sorted."""
        return tuple(sorted({f.label for f in self.files if f.label is not None}))


def read_source(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    label_column: str | None = None,
    split_column: str | None = None,
    skip_missing: bool = False,
) -> ImageSet:
    """Find out which pictures a folder, a CSV file or a single file names.

    Parameters
    ----------
    source : path
        A folder of class folders; a folder of ``train/``, ``val/`` (or ``valid``, ``validation``,
        ``dev``) and ``test/`` above class folders; a flat folder; a ``.csv`` file; one picture; or a
        container of many (``.tar``, ``.zip``, ``.parquet``, ``.npz``, ``.h5``, CIFAR-10's batches), or a
        folder of such.
    root : path, optional
        For a CSV: the folder its paths start from. By default the folder the CSV lies in.
    path_column, label_column, split_column : str, optional
        For a CSV: names of its columns. ``label`` and ``split`` are used where they exist and
        nothing else is asked for.
    skip_missing : bool
        For a CSV: take rows whose file does not exist, as failed images, rather than refuse.

    Returns
    -------
    ImageSet

    Raises
    ------
    BottleneckError
        The source does not exist, names no picture, or is not laid out in one of these ways.

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
        images = _read_remote(url, root, path_column, label_column, split_column, skip_missing)
        return _refuse_empty(url, images)
    place = Path(source)
    if not os.path.lexists(place):
        raise BottleneckError(
            f"no such folder or file: {place} (expected a folder of pictures, or a CSV that names them)"
        )
    if place.suffix.lower() == ".csv" and place.is_file():
        images = _read_csv(
            place, root or place.parent, path_column, label_column, split_column, skip_missing
        )
    elif root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {place} is not one")
    elif place.is_dir():
        images = _read_folder(place)
        if not images.files:
            images = _read_containers(place, images.ignored)
    elif is_container(place.name):
        images = _read_container(place)
    elif place.name.lower().endswith(_COMPRESSED):
        raise BottleneckError(
            f"{place} is compressed as a whole, so no picture in it can be read by itself; unpack it, and give the "
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


# --- folders


# A picture or what stands in its place: path, the folder it lies in, problem, stamp. No class of its
# own: there are as many as there are pictures, and to make a bare tuple takes a tenth of the time.
_Found = tuple[str, str, str | None, Stamp | None]


def _read_folder(top: Path) -> ImageSet:
    ignored: Counter[str] = Counter()
    found = sorted(_walk(top, ignored), key=itemgetter(0))
    return ImageSet(str(top.resolve()), _files(top, found), tuple(sorted(ignored)))


def _files(top: Path | str, found: list[_Found]) -> tuple[ImageFile, ...]:
    """Tell labels and splits of pictures by the folders they lie in."""
    # asked once for each folder, not for each of its pictures
    of_folder = _lay_out(top, {folder for _, folder, _, _ in found if folder})
    fields = ((path, *of_folder[folder], problem, stamp) for path, folder, problem, stamp in found)
    # ImageFile(*fields) does this too, and takes three times as long
    return tuple(map(tuple.__new__, itertools.repeat(ImageFile), fields))


def _lay_out(top: Path | str, folders: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Tell which label and split each folder stands for."""
    upper = {folder.split(os.sep, 1)[0] for folder in folders}
    names_splits = bool(upper) and all(name.lower() in SPLITS for name in upper)
    if not names_splits:
        _refuse_mixed(top, upper, folders)
    return {
        folder: _label_and_split([*folder.split(os.sep), ""], names_splits) for folder in folders
    } | {"": (None, None)}


def _label_and_split(parts: list[str], names_splits: bool) -> tuple[str | None, str | None]:
    split = SPLITS[parts[0].lower()] if names_splits and len(parts) > 1 else None
    folders = parts[1:-1] if names_splits else parts[:-1]
    return (folders[0] if folders else None), split


def _refuse_mixed(top: Path | str, upper: set[str], folders: Collection[str]) -> None:
    # one folder called "train" among "bus" and "car" is a class; with folders of its own it is not
    nested = {folder.split(os.sep)[0] for folder in folders if os.sep in folder}
    splits = sorted(name for name in upper if name.lower() in SPLITS and name in nested)
    others = sorted(upper - set(splits))
    if splits and others:
        raise BottleneckError(
            f"{top} mixes split folders ({', '.join(splits)}) with others ({', '.join(others)}): "
            "expected either class folders only, or only train, val and test above class folders"
        )


def _walk(top: Path, ignored: Counter[str]) -> Iterator[_Found]:
    """Yield every picture below `top`, following links once, and count other files by extension."""
    # Each pending folder carries the folders it lies in: a link back to one of them is a loop.
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        folder, above = pending.pop()
        outer = folder.rpartition(os.sep)[0]
        try:
            here = os.stat(top / folder)
            key = (here.st_dev, here.st_ino)
            if key in above:
                problem = "link loop: it leads back to a folder that contains it"
                yield folder, outer, problem, None
                continue
            children = list(os.scandir(top / folder))
        except OSError as error:
            if not folder:
                raise BottleneckError(f"cannot open the folder {top}: {error.strerror}") from error
            yield folder, outer, f"cannot open this folder: {error.strerror}", None
            continue
        for child in children:
            name = child.name
            if name.startswith("."):
                continue  # .DS_Store, ._picture.jpg, .ipynb_checkpoints
            path = f"{folder}{os.sep}{name}" if folder else name
            try:
                is_folder = child.is_dir()
            except OSError:
                is_folder = False  # a link that leads nowhere: reading it will say how
            if is_folder:
                pending.append((path, above | {key}))
            elif name[name.rfind(".") :] in EXTENSIONS or _is_picture(name, ignored):
                try:
                    # here, where the path need not be put together again for each
                    seen = child.stat()
                except OSError:
                    yield path, folder, None, None
                else:
                    yield path, folder, None, (seen.st_size, seen.st_mtime_ns)


def _is_picture(name: str, ignored: Counter[str]) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in EXTENSIONS:
        ignored[suffix or "(none)"] += 1
    return suffix in EXTENSIONS


# --- behind a URL


def _read_remote(
    url: str,
    root: str | os.PathLike[str] | None,
    path_column: str,
    label_column: str | None,
    split_column: str | None,
    skip_missing: bool,
) -> ImageSet:
    folder, _, name = url.rpartition("/")
    if name.lower().endswith(".csv"):
        return _read_csv(url, root or folder, path_column, label_column, split_column, skip_missing)
    if root is not None:
        raise BottleneckError(f"--root goes with a CSV file, and {url} is not one")
    if is_container(name) and Remote(url).is_file():
        return ImageSet(folder, tuple(_members(RemoteFile(Remote(folder), name), name)))
    place, ignored = Remote(url), Counter[str]()
    if os.path.splitext(name)[1].lower() in EXTENSIONS and place.is_file():
        return ImageSet(folder, (ImageFile(name, stamp=_telling(place.look())),))
    there = {
        path: stamp
        for path, stamp in place.find().items()
        if not any(part.startswith(".") for part in path.split("/"))
    }
    found: list[_Found] = [
        (path, path.rpartition("/")[0], None, _telling(stamp))
        for path, stamp in there.items()
        if _is_picture(path.rpartition("/")[2], ignored)
    ]
    passed = tuple(sorted(ignored))
    if found:
        return ImageSet(url, _files(url, sorted(found, key=itemgetter(0))), passed)
    within = {
        path: RemoteFile(place, path, stamp)
        for path, stamp in sorted(there.items())
        if is_container(path)
    }
    return ImageSet(url, _members_of_all(within), passed)


def _telling(stamp: Stamp | None) -> Stamp | None:
    """Pass over what says nothing of the content: an index of a web server names files, and no more."""
    return None if stamp is None or stamp[1] == -1 else stamp


# --- containers


_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def _read_containers(top: Path, ignored: tuple[str, ...]) -> ImageSet:
    """Read all containers in a folder that holds nothing else of pictures."""
    within = sorted(
        os.path.relpath(os.path.join(folder, name), top)
        for folder, _, names in os.walk(top)
        for name in names
        if is_container(name) and not name.startswith(".")
    )
    root = top.resolve()
    files = _members_of_all({path: root / path for path in within})
    return ImageSet(str(root), files, ignored)


def _members_of_all(within: Mapping[str, Path | RemoteFile]) -> tuple[ImageFile, ...]:
    """Give the pictures of several containers; one that cannot be read is a failed picture of its name."""
    files: list[ImageFile] = []
    refusals: list[BottleneckError] = []
    for path, file in within.items():
        try:
            files += _members(file, path)
        except BottleneckError as error:
            refusals.append(error)
            files.append(ImageFile(path, problem=str(error)))
    if refusals and len(refusals) == len(within):
        raise refusals[0]
    return tuple(files)


def _read_container(place: Path) -> ImageSet:
    file = place.parent.resolve() / place.name
    return ImageSet(str(file.parent), tuple(_members(file, place.name)))


def _members(file: Path | RemoteFile, path: str) -> Iterator[ImageFile]:
    """Give the pictures of a container, as if it were the folder they lie in."""
    try:
        stamp = stamp_of(file)
        container = open_container(file)
        members = container.members()
    except OSError as error:
        raise BottleneckError(f"cannot read {file}: {error.strerror or error}") from error
    folders = {
        # what has its label elsewhere lies in no class folder
        member.name: "" if member.label else member.name.rpartition("/")[0]
        for member in members
        if container.folders and member.placed
    }
    outer = _outer_folder(set(folders.values()))
    of_folder = _lay_out(str(file), {_below(folder, outer) for folder in folders.values()} - {""})
    of_name = split_in(path)
    for member in members:
        label, split = of_folder[_below(folders.get(member.name, ""), outer)]
        yield ImageFile(
            f"{path}/{member.name}",
            label if member.label is None else member.label,
            member.split or split or of_name,
            member.problem,
            stamp,
        )


def _outer_folder(folders: set[str]) -> str:
    """Find the folder an archive was made of, where it wraps the folders in it."""
    outer = os.path.commonpath(folders) if folders and "" not in folders else ""
    # the only class is no wrapping
    return "" if outer in folders else outer


def _below(folder: str, outer: str) -> str:
    return folder[len(outer) :].lstrip("/") if outer else folder


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
