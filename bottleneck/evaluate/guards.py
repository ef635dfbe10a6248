"""What to mistrust in the data, looked for before anything is fitted."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.duplicates import Duplicates, find_duplicates
from bottleneck.evaluate.labels import FOLDS, Doubts, find_doubts
from bottleneck.extraction.progress import Progress
from bottleneck.heads.data import label_codes, split_slices
from bottleneck.heads.scaling import slices
from bottleneck.heads.split import Split

# With fewer, one image more or less is a tenth of what is known of a class.
FEW = 10

# Names in a message; all of them are in --json and in the report.
_SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same.

    Attributes
    ----------
    first, second : str
        Paths.
    first_split, second_split : str
    first_label, second_label : str
    cosine : float
        Of their features, less the mean of all.
    identical : bool
        Whether they are the same byte for byte.
    """

    first: str
    second: str
    first_split: str
    second_split: str
    first_label: str
    second_label: str
    cosine: float
    identical: bool

    @property
    def across(self) -> bool:
        """Whether they are in different splits."""
        return self.first_split != self.second_split


@dataclass(frozen=True)
class Suspect:
    """An image whose label is probably wrong.

    Attributes
    ----------
    path, split, label : str
    likely : str
        The class it seems to belong to.
    label_probability, likely_probability : float
        By a head that was fitted without it.
    """

    path: str
    split: str
    label: str
    likely: str
    label_probability: float
    likely_probability: float


@dataclass(frozen=True)
class Findings:
    """What to mistrust in the data.

    Attributes
    ----------
    warnings : tuple of str
        A line each.
    duplicates : tuple of Pair
        Those across splits first, then the most alike.
    suspects : tuple of Suspect
        The surest first.
    """

    warnings: tuple[str, ...]
    duplicates: tuple[Pair, ...]
    suspects: tuple[Suspect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return dataclasses.asdict(self)


def refuse_non_finite(images: Located) -> None:
    """Refuse features that are no finite numbers.

    Raises
    ------
    BottleneckError
        There are some.
    """
    bad = [
        part.start + place
        for part in slices(len(images.rows), images.shape)
        for place in np.flatnonzero(_non_finite(images.gather(part).X))
    ]
    if bad:
        raise BottleneckError(
            f"{len(bad)} of {len(images.rows)} images have features that are no finite numbers, the first "
            f"{images.rows[bad[0]].path!r}; extract them again with --precision float32 --dtype float32"
        )


def examine(
    images: Located, split: Split, classes: Sequence[str], seed: int, progress: Progress
) -> Findings:
    """Look for small classes, duplicates across splits and wrong labels.

    Nothing is chosen by what is found, so that the test split is looked at too.

    Parameters
    ----------
    images : Located
        The images of all splits, one split after the other.
    split : Split
    classes : sequence of str
    seed : int
        Of the folds and the projection.
    progress : callable
    """
    places = split_slices(split)
    names = [name for name, part in split.parts.items() for _ in part]
    y = label_codes(images.rows, classes)
    progress("duplicates", 0, 1)
    duplicates = find_duplicates(images, places, seed)
    progress("duplicates", 1, 1)
    pairs = tuple(_pairs(images.rows, names, duplicates))
    doubts = find_doubts(images, y, duplicates.groups, seed, progress)
    suspects = tuple(_suspects(images.rows, names, classes, doubts))
    warnings = (
        *_about_classes(split, classes),
        *_about_duplicates(split, pairs),
        *_about_labels(len(y), suspects, [classes[code] for code in doubts.unchecked]),
    )
    return Findings(warnings, pairs, suspects)


def _non_finite(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any(~np.isfinite(X.reshape(len(X), -1)), axis=1)
    return found


def _pairs(rows: Sequence[Row], names: Sequence[str], found: Duplicates) -> Iterator[Pair]:
    across = [names[first] != names[second] for first, second in found.pairs]
    for place in np.lexsort((-found.cosines, np.logical_not(across))):
        first, second = found.pairs[place]
        yield Pair(
            rows[first].path,
            rows[second].path,
            names[first],
            names[second],
            rows[first].label or "",
            rows[second].label or "",
            round(float(found.cosines[place]), 4),
            rows[first].digest == rows[second].digest,
        )


def _suspects(
    rows: Sequence[Row], names: Sequence[str], classes: Sequence[str], found: Doubts
) -> Iterator[Suspect]:
    columns = (found.places, found.likely, found.label_probability, found.likely_probability)
    for place, likely, own, other in zip(*columns, strict=True):
        row = rows[place]
        yield Suspect(
            row.path,
            names[place],
            row.label or "",
            classes[likely],
            round(float(own), 4),
            round(float(other), 4),
        )


def _about_classes(split: Split, classes: Sequence[str]) -> Iterator[str]:
    counts = {name: Counter(row.label for row in part) for name, part in split.parts.items()}
    few = [(name, counts["train"][name]) for name in classes if counts["train"][name] < FEW]
    if few:
        shown = ", ".join(f"{name} ({count})" for name, count in few[:_SHOWN])
        yield (
            f"{len(few)} of {len(classes)} classes have fewer than {FEW} images to train on: {shown}"
            f"{_more(few)}; add some, or expect little of them."
        )
    for part in split.parts:
        absent = [name for name in classes if not counts[part][name]]
        if absent:
            yield (
                f"{part} has no image of {len(absent)} of {len(classes)} classes: {', '.join(absent[:_SHOWN])}"
                f"{_more(absent)}; its figures say nothing of them."
            )


def _about_duplicates(split: Split, pairs: Sequence[Pair]) -> Iterator[str]:
    for name in split.parts:
        if name == "train":
            continue
        leaked = [
            pair for pair in pairs if {pair.first_split, pair.second_split} == {name, "train"}
        ]
        inside = {p.first if p.first_split == name else p.second for p in leaked}
        same = {p.first if p.first_split == name else p.second for p in leaked if p.identical}
        if inside:
            yield (
                f"{len(inside)} of {len(split.parts[name])} images in {name} are nearly the same as one in train "
                f"({len(same)} of them byte for byte): its figures will be too good. "
                f"One is {leaked[0].second} and {leaked[0].first}."
            )
    quarrels = [pair for pair in pairs if pair.first_label != pair.second_label]
    if quarrels:
        yield (
            f"{len(quarrels)} pairs of nearly the same image have different labels, one of them "
            f"{quarrels[0].first} ({quarrels[0].first_label}) and {quarrels[0].second} ({quarrels[0].second_label})."
        )


def _about_labels(
    images: int, suspects: Sequence[Suspect], unchecked: Sequence[str]
) -> Iterator[str]:
    if suspects:
        first = suspects[0]
        yield (
            f"{len(suspects)} of {images} labels are probably wrong, first of all that of {first.path}: "
            f"it says {first.label} and looks like {first.likely}."
        )
    if unchecked:
        yield (
            f"Labels of {len(unchecked)} classes were not checked, having fewer than {FOLDS} different images: "
            f"{', '.join(unchecked[:_SHOWN])}{_more(unchecked)}."
        )


def _more(names: Sequence[Any]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
