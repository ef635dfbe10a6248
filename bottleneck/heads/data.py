"""Labelled features: images with their labels, split and cached features."""

import contextlib
import dataclasses
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located, locate
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row
from bottleneck.heads.contract import Sample
from bottleneck.heads.probabilities import read_finite
from bottleneck.heads.registry import HEADS, HeadKind
from bottleneck.heads.scaling import slices
from bottleneck.heads.split import Split

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class LabelledFeatures:
    """Labelled images and their cached features, one part of the split after the other.

    Attributes
    ----------
    views : tuple of Located
        Features of the same images in each view. The first is the plain view.
    split : Split
        Its images are those of `views`, in the same order.
    """

    views: tuple[Located, ...]
    split: Split

    @property
    def plain(self) -> Located:
        """Features of the plain view."""
        return self.views[0]

    @property
    def rows(self) -> Sequence[Row]:
        """The images."""
        return self.plain.rows

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return self.plain.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one image."""
        return self.plain.shape

    @property
    def slices(self) -> dict[str, slice]:
        """Rows of each part of the split."""
        return split_slices(self.split)

    @property
    def y(self) -> NDArray[np.int64]:
        """Class number of each image."""
        return label_codes(self.rows, self.classes)

    def labels_of(self, part: str) -> NDArray[np.int64]:
        """Class number of each image of a part of the split."""
        return label_codes(self.split.parts[part], self.classes)

    def first_views(self, count: int) -> "LabelledFeatures":
        """Keep the first views of each image, including the plain view."""
        return dataclasses.replace(self, views=self.views[:count])

    def select(self, split: Split, rows: NDArray[np.int64]) -> "LabelledFeatures":
        """Keep some of the images: those of `split`, which are at `rows` here."""
        return LabelledFeatures(tuple(view.take(rows) for view in self.views), split)


def load_labelled(
    cache: Path, recipes: Sequence[Recipe], split: Split, views: int
) -> LabelledFeatures:
    """Find the features of all images of a split, in the first `views` views.

    Raises
    ------
    BottleneckError
        If some of the images have no features, or a shard is damaged.
    """
    located = locate(cache, recipes, split.rows, split.classes, range(views))
    return LabelledFeatures(located.by_view(views), split)


def split_slices(split: Split) -> dict[str, slice]:
    """Rows of each part of a split, where the parts follow each other."""
    found, start = {}, 0
    for name, part in split.parts.items():
        found[name] = slice(start, start + len(part))
        start += len(part)
    return found


def label_codes(rows: Sequence[Row], classes: Sequence[str]) -> NDArray[np.int64]:
    """Convert the labels of rows to indices into the classes."""
    codes = {label: code for code, label in enumerate(classes)}
    return np.array([codes[row.label] for row in rows if row.label is not None], np.int64)


@contextlib.contextmanager
def read_samples(
    kind: HeadKind, data: LabelledFeatures, memory: int | None, folder: Path
) -> Iterator[tuple[Sample, Sample]]:
    """Read the training and validation features, into memory or, if they do not fit, into a file.

    Parameters
    ----------
    kind : HeadKind
        The head that will be fitted.
    data : LabelledFeatures
        All views of the training images are read, and the plain view of the validation images.
    memory : int, optional
        Memory for features, in bytes. By default half of what is free.
    folder : Path
        Folder of the temporary file.

    Yields
    ------
    train, val : Sample
    """
    views_of = {"train": data.views, "val": data.views[:1]}
    needed = (
        4
        * int(np.prod(data.shape))
        * sum(len(data.split.parts[name]) * len(views) for name, views in views_of.items())
    )
    allowed = _free_memory() // 2 if memory is None else memory
    if needed > allowed:
        _warn_about_mapping(kind, needed)
    with contextlib.ExitStack() as stack:
        samples = []
        for name, views in views_of.items():
            rows = data.split.parts[name]
            shape = (len(rows) * len(views), *data.shape)
            if needed <= allowed:
                X = np.empty(shape, np.float32)
            else:
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                X = np.memmap(file, np.float32, "w+", shape=shape)
            first, filled = data.slices[name].start, 0
            for view in views:
                for part in slices(len(rows), view.shape):
                    some = read_finite(view, slice(first + part.start, first + part.stop))
                    X[filled : filled + len(some)] = some
                    filled += len(some)
            samples.append(Sample(X, np.tile(data.labels_of(name), len(views))))
        yield samples[0], samples[1]


def _warn_about_mapping(kind: HeadKind, needed: int) -> None:
    if kind.streams:
        _log.info("%d MB of features do not fit into memory: mapping them.", needed >> 20)
    else:
        streaming = ", ".join(other.name for other in HEADS.values() if other.streams)
        _log.warning(
            "%d MB of features exceed the memory limit, and head %s takes them all at once; "
            "these heads read them in pieces: %s.",
            needed >> 20,
            kind.name,
            streaming,
        )


def _free_memory() -> int:
    try:
        # memory that Linux can make available, including the page cache; in kB
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(
            int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
