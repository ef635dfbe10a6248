"""Tables of images: CSV files and their like, which name images, labels and splits."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.class_names import find_combinations, is_missing, merge_spellings
from bottleneck.images.image_set import ImageFile, ImageSet
from bottleneck.images.layout import DEFAULT, LayoutOptions
from bottleneck.images.names import SPLITS
from bottleneck.images.place import Stamp
from bottleneck.images.table_columns import Columns, FoundColumns, cell, find_columns
from bottleneck.images.table_paths import PathResolver, Resolved
from bottleneck.images.table_text import Table, parse_table, recover
from bottleneck.remote import Remote, clean_url, is_url

# What a table's file is called.
TABLES = (".csv", ".tsv")

# Labels that are numbers are classes up to this many, however few images each has ...
_FEW_NUMBERS = 20
# ... and beyond it if each has at least so many, as numbered classes have and ages or prices do not.
_IMAGES_PER_NUMBER = 5

_FRACTION = re.compile(r"[-+]?\d*\.\d*[1-9]\d*")


def is_table(name: str) -> bool:
    """Tell by its name whether a file is a table.

    Examples
    --------
    >>> is_table("labels.TSV"), is_table("1.jpg")
    (True, False)
    """
    return name.lower().endswith(TABLES)


def read_table(
    file: Path | str,
    root: str | os.PathLike[str],
    columns: Columns,
    *,
    skip_missing: bool = False,
    options: LayoutOptions = DEFAULT,
) -> ImageSet:
    """Read the images, labels and splits that a table names.

    Parameters
    ----------
    file : path or URL
    root : path or URL
        The folder its paths start from.
    columns : Columns
        Names of its columns.
    skip_missing : bool
        Take files that do not exist as failed images.
    options : LayoutOptions
        Whether labels are wanted.

    Raises
    ------
    BottleneckError
        It is not a table, its columns cannot be found, rows contradict each other, or files are missing.
    """
    if is_url(root):
        root = clean_url(str(root))
    elif os.path.isdir(root):
        root = str(Path(root).resolve())
    else:
        raise BottleneckError(f"--root {root} is not a folder, or may not be entered")
    content = Remote(str(file)).read() if is_url(file) else _content(Path(file))
    table = parse_table(file, content)
    resolver = PathResolver(root)
    found = find_columns(file, table, columns, resolver.is_image)
    labels: list[str | None] = [None] * len(table.rows)
    notes = found.notes
    if options.labelled:
        labels, said = _read_labels(file, table, found)
        notes += said
    else:
        notes = ()
    files, searched = _read_rows(file, table, found, labels, resolver)
    if searched:
        notes += (
            f"{len(searched):,} paths were found by the end of their name, the first {searched[0]!r}",
        )
    return ImageSet(root, _with_stamps(file, root, files, skip_missing), notes=notes)


def _read_labels(
    file: Path | str, table: Table, columns: FoundColumns
) -> tuple[list[str | None], tuple[str, ...]]:
    cells = [recover(cell(row, columns.label)).strip() for _, row in table.rows]
    if columns.label is None:
        return [None] * len(cells), ()
    counts = Counter(label for label in cells if not is_missing(label))
    name = table.header[columns.label]
    _refuse_quantities(file, name, counts)
    names, notes = merge_spellings(counts)
    if several := find_combinations(counts):
        notes = (
            *notes,
            f"{len(several):,} labels in column {name!r} look like several labels of one image, and each is read as a "
            f"class of its own, the first {several[0]!r}; more than one label an image is not supported",
        )
    missing = len(cells) - counts.total()
    if missing:
        notes = (*notes, f"No label in column {name!r} in {missing:,} of {len(cells):,} rows")
    return [names.get(label) for label in cells], notes


def _refuse_quantities(file: Path | str, column: str, counts: Mapping[str, int]) -> None:
    """Refuse numbers that measure something: each of them would be a class."""
    try:
        numbers = {float(label) for label in counts}
    except ValueError:
        return
    few_of_each = sum(counts.values()) < _IMAGES_PER_NUMBER * len(numbers)
    if len(numbers) > _FEW_NUMBERS and (few_of_each or any(map(_FRACTION.fullmatch, counts))):
        raise BottleneckError(
            f"{file}: column {column!r} holds {len(numbers)} different numbers in {sum(counts.values())} rows, as "
            "measurements do; expected classes. To predict numbers is not supported: bin them, or name another "
            "column with --label-column"
        )


def _read_rows(
    file: Path | str,
    table: Table,
    columns: FoundColumns,
    labels: list[str | None],
    resolver: PathResolver,
) -> tuple[dict[str, tuple[ImageFile, Resolved]], list[str]]:
    """Read the rows by the path they name, each once; also give the paths that had to be searched for."""
    files: dict[str, tuple[ImageFile, Resolved]] = {}
    lines: dict[str, int] = {}
    searched = []
    for (line, row), label in zip(table.rows, labels, strict=True):
        named = cell(row, columns.path)
        if not named.strip() or "\0" in named:
            raise BottleneckError(
                f"{file}, line {line}: expected the path of an image in column "
                f"{table.header[columns.path]!r}, found {named!r}"
            )
        found = resolver.resolve(named)
        if found.searched:
            searched.append(named)
        split = _split_of(file, line, recover(cell(row, columns.split)).strip())
        image = ImageFile(found.path, label, split, found.problem)
        if files.setdefault(found.path, (image, found))[0] != image:
            raise BottleneckError(
                f"{file}: lines {lines[found.path]} and {line} give {named!r} different labels or splits"
            )
        lines.setdefault(found.path, line)
    return files, searched


def _with_stamps(
    file: Path | str,
    root: str,
    files: Mapping[str, tuple[ImageFile, Resolved]],
    skip_missing: bool,
) -> tuple[ImageFile, ...]:
    """Add what is known of files behind URLs, and refuse files that do not exist."""
    stamps = _stamps(root, (path for path, (_, found) in files.items() if found.exists is None))
    missing = [path for path, stamp in stamps.items() if stamp is None]
    missing += [path for path, (_, found) in files.items() if found.exists is False]
    if missing and not skip_missing:
        raise BottleneckError(
            f"{file} names {len(missing)} of {len(files)} files that do not exist below {root}, the first "
            f"{missing[0]!r}; say where they are with --root, or go on without them with --skip-missing"
        )
    return tuple(
        image._replace(stamp=stamp_that_tells(stamps.get(path)))
        for path, (image, _) in files.items()
    )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BottleneckError(f"cannot read {file}: {error.strerror}") from error


def _stamps(root: str, paths: Iterable[str]) -> dict[str, Stamp | None]:
    """Look at files behind URLs; None for those that do not exist."""
    distant = list(paths)
    if not distant:
        return {}
    from bottleneck.images.remote import look_at

    return look_at(root, distant)


def stamp_that_tells(stamp: Stamp | None) -> Stamp | None:
    """Leave out a stamp that says nothing of the content: an index of a web server only names files."""
    return None if stamp is None or stamp[1] == -1 else stamp


def _split_of(file: Path | str, line: int, value: str) -> str | None:
    if is_missing(value):
        return None
    if value.lower() not in SPLITS:
        raise BottleneckError(
            f"{file}, line {line}: unknown split {value!r}; expected one of {', '.join(SPLITS)} or nothing"
        )
    return SPLITS[value.lower()]
