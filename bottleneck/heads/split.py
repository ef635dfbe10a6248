"""Split images into training, validation and test."""

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError

_log = logging.getLogger("bottleneck")

# Used if the data have no splits. Most images go to training, because image sets are often small.
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Split:
    """Labelled images of each split.

    Attributes
    ----------
    kind : {"given", "digest"}
        Whether the data define the splits, or they are created from digests of the images.
    parts : dict of str to tuple of Row
        ``train`` and ``val`` always, ``test`` if there is one.
    """

    kind: str
    parts: Mapping[str, tuple[Row, ...]]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Images of all parts, one part after the other."""
        return tuple(row for part in self.parts.values() for row in part)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({row.label for row in self.rows if row.label is not None}))


def split_rows(rows: Iterable[Row], seed: int) -> Split:
    """Split labelled images into train, val and test.

    Splits given by the data are kept. If they have no ``val``, it is taken from ``train``. Without given
    splits, a stratified split is created from the digests of the images: it is the same on every machine,
    does not depend on order or names, and keeps duplicates together.

    Parameters
    ----------
    rows : iterable of Row
        Usable images. Those without a label are left out.
    seed : int
        Random seed for the split, if one is created.

    Raises
    ------
    BottleneckError
        If there are no labels, fewer than two classes, or a class without training images.

    Examples
    --------
    >>> rows = [Row(f"{i}.jpg", f"{i:064x}", "cat" if i % 2 else "dog") for i in range(20)]
    >>> {name: len(part) for name, part in split_rows(rows, seed=0).parts.items()}
    {'train': 12, 'val': 4, 'test': 4}
    """
    labelled = [row for row in rows if row.label is not None]
    classes = sorted({row.label for row in labelled if row.label is not None})
    if len(classes) < 2:
        raise BottleneckError(
            f"a head needs images of two classes or more, found {len(classes)} ({', '.join(classes) or 'no labels'}); "
            "extract a folder of class folders, or a CSV with a column of labels"
        )
    given = {row.split for row in labelled if row.split is not None}
    if not given:
        kind, parts = "digest", _divide(labelled, SHARES, seed)
    else:
        kind, parts = "given", _given(labelled, given, seed)
    _check_trained(parts, classes)
    _warn_about_missing_classes(parts, classes)
    _warn_about_duplicates(parts)
    return Split(kind, {name: tuple(parts[name]) for name in SHARES if parts.get(name)})


def _given(labelled: Sequence[Row], given: set[str], seed: int) -> dict[str, list[Row]]:
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in labelled:
        parts[row.split or ""].append(row)
    if unassigned := len(parts.pop("", [])):
        _log.warning(
            "%d images have no split, while others have one: they are left out.", unassigned
        )
    if "train" not in given:
        raise BottleneckError(
            f"the data have splits ({', '.join(sorted(given))}) but no train split; "
            "add one, or leave all splits out"
        )
    if "val" not in given:
        share = SHARES["val"] / (SHARES["train"] + SHARES["val"])
        parts |= _divide(parts["train"], {"train": 1 - share, "val": share}, seed)
    return parts


def _divide(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Divide the distinct images of each class in the order of a hash of their digests."""
    label_of: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row.digest, row.label or "")):
        label_of.setdefault(row.digest, row.label or "")
    by_class: dict[str, list[str]] = defaultdict(list)
    for digest in sorted(label_of, key=lambda d: hashlib.sha256(f"{seed}:{d}".encode()).digest()):
        by_class[label_of[digest]].append(digest)
    part_of = {}
    for digests in by_class.values():
        ordered = iter(digests)
        for name, count in _counts(len(digests), shares).items():
            part_of.update(dict.fromkeys(itertools.islice(ordered, count), name))
    parts: dict[str, list[Row]] = {name: [] for name in shares}
    for row in rows:
        parts[part_of[row.digest]].append(row)
    return parts


def _counts(images: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Number of images of a class in each part: at least one, as long as one is left for training."""
    counts = {name: max(1, round(share * images)) for name, share in shares.items()}
    del counts["train"]
    for name in ("test", "val"):
        if sum(counts.values()) >= images:
            counts.pop(name, None)
    return {"train": images - sum(counts.values()), **counts}


def _check_trained(parts: Mapping[str, Sequence[Row]], classes: Sequence[str]) -> None:
    trained = {row.label for row in parts["train"]}
    missing = [name for name in classes if name not in trained]
    if missing:
        raise BottleneckError(
            f"no training images for {len(missing)} of {len(classes)} classes: {', '.join(missing[:5])}; "
            "add some, or remove the class from the other splits"
        )
    if not parts.get("val"):
        raise BottleneckError(
            f"too few images to set some aside for validation: {len(parts['train'])}; "
            "at least one class needs 2 or more different images"
        )


def _warn_about_missing_classes(parts: Mapping[str, Sequence[Row]], classes: Sequence[str]) -> None:
    for name in ("val", "test"):
        found = {row.label for row in parts.get(name, ())}
        missing = [label for label in classes if label not in found]
        if found and missing:
            _log.warning(
                "%s has no images of %d of %d classes: %s; its scores do not cover them.",
                name,
                len(missing),
                len(classes),
                ", ".join(missing[:5]),
            )


def _warn_about_duplicates(parts: Mapping[str, Sequence[Row]]) -> None:
    trained = {row.digest for row in parts["train"]}
    for name in ("val", "test"):
        shared = sum(row.digest in trained for row in parts.get(name, ()))
        if shared:
            _log.warning(
                "%d of %d images in %s are identical to images in train: its scores are optimistic.",
                shared,
                len(parts[name]),
                name,
            )
