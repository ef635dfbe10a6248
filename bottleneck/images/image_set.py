"""Images of a set before any of them is opened: paths, labels and splits."""

from dataclasses import dataclass
from typing import NamedTuple

from bottleneck.images.place import Stamp


class ImageFile(NamedTuple):
    """One image of a set, not opened yet.

    Attributes
    ----------
    path : str
        Relative to the root of the set, or absolute if it lies outside.
    label : str or None
        Its class, if one is given.
    split : {"train", "val", "test"} or None
        The part of the data it is assigned to, if the source says so.
    problem : str or None
        Why it cannot be read, if the folder alone shows that (a link loop).
    stamp : Stamp or None
        Size and time of modification when it was listed.
    """

    path: str
    label: str | None = None
    split: str | None = None
    problem: str | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True)
class ImageSet:
    """Images named by a source, in a fixed order.

    Attributes
    ----------
    root : str
        Folder or URL that paths are relative to, see `bottleneck.images.place.open_place`.
    files : tuple of ImageFile
        Sorted by path for folders, in the order of the rows for a table.
    ignored : tuple of str
        Extensions of the files skipped because they are not those of images, each once.
    notes : tuple of str
        What was recognised and is not plain from the options, one line each.
    """

    root: str
    files: tuple[ImageFile, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in use, sorted."""
        return tuple(sorted({f.label for f in self.files if f.label is not None}))
