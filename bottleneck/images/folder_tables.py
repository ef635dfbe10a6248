"""Tables that lie in a folder of images and hold its labels: ``labels.csv``, ``metadata.csv``."""

from collections.abc import Sequence
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.image_set import ImageSet
from bottleneck.images.table_columns import Columns
from bottleneck.images.tables import read_table
from bottleneck.remote import is_url

# The hub's imagefolder calls its table so; it goes before all others.
_METADATA = ("metadata.csv", "metadata.tsv")


def add_tables(top: Path, images: ImageSet, tables: Sequence[str]) -> ImageSet:
    """Take labels from the table in a folder whose layout has none; report the tables that are not read.

    Parameters
    ----------
    top : Path
        The folder.
    images : ImageSet
        As its layout gives it.
    tables : sequence of str
        Names of the tables that lie directly in it.
    """
    if not tables or not images.files:
        return images
    named = ", ".join(tables)
    if images.classes:
        note = f"Labels are those of the folders; not read: {named} (to read it, give it as IMAGES)"
        return _with_notes(images, note)
    chosen = [name for name in tables if name.lower() in _METADATA] or list(tables)
    if len(chosen) > 1:
        note = f"No labels are read, but there are tables: {named}; give the right one as IMAGES"
        return _with_notes(images, note)
    try:
        table = read_table(top / chosen[0], top, Columns())
    except BottleneckError as error:
        return _with_notes(images, f"No labels are read, for the table cannot be: {error}")
    return _label(images, table, chosen[0])


def _label(images: ImageSet, table: ImageSet, name: str) -> ImageSet:
    """Label images by the table; those it does not name stay without a label."""
    by_path = {file.path: file for file in table.files}
    files = []
    for file in images.files:
        row = by_path.pop(file.path, None)
        split = file.split if row is None else row.split or file.split
        files.append(file._replace(label=row.label if row else None, split=split))
    notes = [f"Labels are read from {name}", *table.notes]
    bare = [file.path for file in files if file.label is None]
    if table.classes and bare:
        notes.append(
            f"No label in {name} for {len(bare):,} of {len(files):,} images, the first {bare[0]!r}"
        )
    # the user named the folder and not the table, so a row of it opens nothing elsewhere
    outside = f"{name} names it, but it lies outside the folder; to read it, give {name} as IMAGES"
    files += [
        row._replace(problem=row.problem or outside, stamp=None)
        if Path(row.path).is_absolute() or is_url(row.path)
        else row
        for row in by_path.values()
    ]
    notes = [*(note for note in images.notes if "--label-pattern" not in note), *notes]
    return ImageSet(images.root, tuple(files), images.ignored, tuple(notes))


def _with_notes(images: ImageSet, note: str) -> ImageSet:
    return ImageSet(images.root, images.files, images.ignored, (*images.notes, note))
