"""Columns of a table: which holds the paths, which the labels, which the splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.class_names import is_missing
from bottleneck.images.table_text import Table, recover

# Usual names of a column, as `_key` writes them.
_PATHS = frozenset(
    [
        *["path", "file", "filename", "filepath", "image", "imagepath", "imagename", "imageid"],
        *["imagefile", "img", "id", "name"],
    ]
)
_LABELS = frozenset(
    [
        *["label", "labels", "class", "classes", "classname", "classlabel", "category", "target"],
        *["species", "breed", "diagnosis"],
    ]
)

# Rows looked at to tell what a column holds.
_SAMPLE = 200

# A column of words repeats them; one of names or remarks does not.
_IMAGES_PER_LABEL = 2


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table, as the user gives them."""

    path: str = "path"
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class FoundColumns:
    """Numbers of the columns of a table, and what is worth saying about them."""

    path: int
    label: int | None
    split: int | None
    notes: tuple[str, ...]


def find_columns(
    file: Path | str, table: Table, asked: Columns, is_image: Callable[[str], bool]
) -> FoundColumns:
    """Find the columns by their names, without case and spaces, or by what they hold.

    Parameters
    ----------
    file : path or URL
        The table, for messages.
    table : Table
    asked : Columns
    is_image : callable
        Tells whether a cell names an image that exists.

    Raises
    ------
    BottleneckError
        There is no such column, or several may be meant.
    """
    label = _place(file, table, asked.label, "label", "--label-column")
    split = _place(file, table, asked.split, "split", "--split-column")
    path = _match(table.header, asked.path)
    notes = []
    if path is None:
        path = _find_paths(table, {label, split}, is_image) if asked.path == "path" else None
        if path is None:
            raise _no_column(file, table, asked.path, "--path-column")
        notes.append(f"Column of paths: {table.header[path]!r}")
    others = [n for n in range(len(table.header)) if n not in {path, label, split}]
    if label is None:
        known = [n for n in others if _key(table.header[n]) in _LABELS]
        if len(known) > 1:
            names = ", ".join(repr(table.header[n]) for n in known)
            raise BottleneckError(
                f"{file} has several columns of labels: {names}; choose with --label-column"
            )
        if known:
            label = known[0]
            notes.append(f"Column of labels: {table.header[label]!r}")
        elif found := [table.header[n] for n in others if _looks_like_labels(table, n)]:
            notes.append(
                f"No labels are read from {file}, but these columns look like labels: "
                f"{', '.join(map(repr, found))}; name one with --label-column"
            )
    return FoundColumns(path, label, split, tuple(notes))


def cell(row: Sequence[str], column: int | None) -> str:
    """Give the text of a cell; a row may be shorter than the header."""
    return row[column] if column is not None and column < len(row) else ""


def _place(
    file: Path | str, table: Table, asked: str | None, usual: str, option: str
) -> int | None:
    if asked is None:
        return _match(table.header, usual)
    found = _match(table.header, asked)
    if found is None:
        raise _no_column(file, table, asked, option)
    return found


def _match(header: Sequence[str], name: str) -> int | None:
    if name in header:
        return header.index(name)
    keys = [" ".join(each.split()).casefold() for each in header]
    key = " ".join(name.split()).casefold()
    return keys.index(key) if keys.count(key) == 1 else None


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _no_column(file: Path | str, table: Table, column: str, option: str) -> BottleneckError:
    found = ", ".join(table.header) or "no header line"
    return BottleneckError(
        f"{file} has no column {column!r}; it has: {found}. Name the right one with {option}"
    )


def _find_paths(
    table: Table, taken: set[int | None], is_image: Callable[[str], bool]
) -> int | None:
    """Find the column whose cells name images; of several the one with a usual name."""
    fitting = []
    for column in range(len(table.header)):
        values = [value for value in _sample(table, column) if value]
        if column not in taken and values and 2 * sum(map(is_image, values)) > len(values):
            fitting.append(column)
    usual = [column for column in fitting if _key(table.header[column]) in _PATHS]
    chosen = fitting if len(fitting) == 1 else usual
    return chosen[0] if len(chosen) == 1 else None


def _looks_like_labels(table: Table, column: int) -> bool:
    values = [value for value in map(str.strip, _sample(table, column)) if not is_missing(value)]
    return len(set(values)) > 1 and len(values) >= _IMAGES_PER_LABEL * len(set(values))


def _sample(table: Table, column: int) -> list[str]:
    return [recover(cell(row, column)) for _, row in table.rows[:_SAMPLE]]
