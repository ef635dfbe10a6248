"""Data checks run before fitting: small classes, duplicates, label issues, non-finite features."""

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
from bottleneck.evaluate.label_issues import FOLDS, LabelIssues, find_label_issues
from bottleneck.extraction.progress import Progress
from bottleneck.heads.data import LabelledFeatures
from bottleneck.heads.scaling import slices
from bottleneck.heads.split import Split

# With fewer, a single image is more than a tenth of a class.
FEW = 10

# Names in a message. All of them are in --json and in the report.
_SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """Two near-duplicate images.

    Attributes
    ----------
    first, second : str
        Paths.
    first_split, second_split : str
    first_label, second_label : str
    cosine : float
        Cosine similarity of their features, after subtracting the mean of all features.
    identical : bool
        Whether their files are identical.
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
    """An image whose label looks wrong.

    Attributes
    ----------
    path, split, label : str
    likely : str
        The predicted class.
    label_probability, likely_probability : float
        Probabilities of the label and of the predicted class, by a head fitted without the image.
    """

    path: str
    split: str
    label: str
    likely: str
    label_probability: float
    likely_probability: float


@dataclass(frozen=True)
class Findings:
    """Results of the data checks.

    Attributes
    ----------
    warnings : tuple of str
        One line each.
    duplicates : tuple of Pair
        Pairs across splits first, then by falling similarity.
    suspects : tuple of Suspect
        Label issues, the most suspicious first.
    """

    warnings: tuple[str, ...]
    duplicates: tuple[Pair, ...]
    suspects: tuple[Suspect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON object."""
        return dataclasses.asdict(self)


def check_finite(images: Located) -> None:
    """Check that all features are finite numbers.

    Raises
    ------
    BottleneckError
        If some are NaN or infinite.
    """
    bad = [
        part.start + row
        for part in slices(len(images.rows), images.shape)
        for row in np.flatnonzero(_non_finite(images.gather(part).X))
    ]
    if bad:
        raise BottleneckError(
            f"{len(bad)} of {len(images.rows)} images have features that are not finite numbers, the first "
            f"{images.rows[bad[0]].path!r}; extract them again with --precision float32 --dtype float32"
        )


def check_data(data: LabelledFeatures, seed: int, progress: Progress) -> Findings:
    """Find small classes, duplicates and label issues.

    The test split is checked too: the results are used for no choice.

    Parameters
    ----------
    data : LabelledFeatures
        Only the plain view is checked.
    seed : int
        Random seed for the folds and the projection.
    progress : callable
    """
    images, split, classes = data.plain, data.split, data.classes
    names = [name for name, part in split.parts.items() for _ in part]
    progress("duplicates", 0, 1)
    duplicates = find_duplicates(images, data.slices, seed)
    progress("duplicates", 1, 1)
    pairs = tuple(_pairs(images.rows, names, duplicates))
    issues = find_label_issues(images, data.y, duplicates.groups, seed, progress)
    suspects = tuple(_suspects(images.rows, names, classes, issues))
    warnings = (
        *_warn_about_classes(split, classes),
        *_warn_about_duplicates(split, pairs),
        *_warn_about_labels(len(data.rows), suspects, [classes[i] for i in issues.unchecked]),
    )
    return Findings(warnings, pairs, suspects)


def _non_finite(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any(~np.isfinite(X.reshape(len(X), -1)), axis=1)
    return found


def _pairs(rows: Sequence[Row], names: Sequence[str], found: Duplicates) -> Iterator[Pair]:
    across = [names[first] != names[second] for first, second in found.pairs]
    for i in np.lexsort((-found.cosines, np.logical_not(across))):
        first, second = found.pairs[i]
        yield Pair(
            rows[first].path,
            rows[second].path,
            names[first],
            names[second],
            rows[first].label or "",
            rows[second].label or "",
            round(float(found.cosines[i]), 4),
            rows[first].digest == rows[second].digest,
        )


def _suspects(
    rows: Sequence[Row], names: Sequence[str], classes: Sequence[str], found: LabelIssues
) -> Iterator[Suspect]:
    columns = (found.rows, found.likely, found.label_probability, found.likely_probability)
    for i, likely, own, other in zip(*columns, strict=True):
        row = rows[i]
        yield Suspect(
            row.path,
            names[i],
            row.label or "",
            classes[likely],
            round(float(own), 4),
            round(float(other), 4),
        )


def _warn_about_classes(split: Split, classes: Sequence[str]) -> Iterator[str]:
    counts = {name: Counter(row.label for row in part) for name, part in split.parts.items()}
    few = [(name, counts["train"][name]) for name in classes if counts["train"][name] < FEW]
    if few:
        shown = ", ".join(f"{name} ({count})" for name, count in few[:_SHOWN])
        yield (
            f"{len(few)} of {len(classes)} classes have fewer than {FEW} images to train on: {shown}"
            f"{_more(few)}; add images, or expect low accuracy for them."
        )
    for part in split.parts:
        missing = [name for name in classes if not counts[part][name]]
        if missing:
            yield (
                f"{part} has no images of {len(missing)} of {len(classes)} classes: {', '.join(missing[:_SHOWN])}"
                f"{_more(missing)}; its scores do not cover them."
            )


def _warn_about_duplicates(split: Split, pairs: Sequence[Pair]) -> Iterator[str]:
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
                f"{len(inside)} of {len(split.parts[name])} images in {name} are near-duplicates of images in train "
                f"({len(same)} of them identical files): its scores are optimistic. "
                f"Example: {leaked[0].second} and {leaked[0].first}."
            )
    differ = [pair for pair in pairs if pair.first_label != pair.second_label]
    if differ:
        yield (
            f"{len(differ)} pairs of near-duplicates have different labels. Example: "
            f"{differ[0].first} ({differ[0].first_label}) and {differ[0].second} ({differ[0].second_label})."
        )


def _warn_about_labels(
    images: int, suspects: Sequence[Suspect], unchecked: Sequence[str]
) -> Iterator[str]:
    if suspects:
        first = suspects[0]
        yield (
            f"{len(suspects)} of {images} labels look wrong. Most suspicious: {first.path} "
            f"(labelled {first.label}, predicted {first.likely})."
        )
    if unchecked:
        yield (
            f"Labels of {len(unchecked)} classes were not checked (fewer than {FOLDS} different images): "
            f"{', '.join(unchecked[:_SHOWN])}{_more(unchecked)}."
        )


def _more(names: Sequence[Any]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
