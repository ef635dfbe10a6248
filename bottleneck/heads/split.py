"""Which images a head is fitted on, chosen by, and tested on."""

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError

_log = logging.getLogger("bottleneck")

# Where the data have no splits of their own. Enough for training comes first: sets are small.
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Split:
    """Labelled images by the part they play.

    Attributes
    ----------
    kind : {"given", "digest"}
        Whether the data say which image is in which part, or the digests of the images do.
    parts : dict of str to tuple of Row
        ``train`` and ``val`` always, ``test`` where there is one.
    """

    kind: str
    parts: Mapping[str, tuple[Row, ...]]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The images of all parts, one part after the other."""
        return tuple(row for part in self.parts.values() for row in part)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({row.label for row in self.rows if row.label is not None}))


def split_rows(rows: Iterable[Row], seed: int) -> Split:
    """Divide labelled images into train, val and test.

    Splits given by the data are kept. Where they lack a validation part, one is taken from the
    training part. Where there are none, a stratified one is made from the images' digests: it is the
    same on every machine, depends on no order or name, and puts duplicates on the same side.

    Parameters
    ----------
    rows : iterable of Row
        Usable images; those without a label are left out.
    seed : int
        Another seed gives another division, where one is made.

    Raises
    ------
    BottleneckError
        There are no labels, fewer than two classes, or a class without images to train on.

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
    _refuse_untrained(parts, classes)
    _tell_of_untested(parts, classes)
    _tell_of_straddlers(parts)
    return Split(kind, {name: tuple(parts[name]) for name in SHARES if parts.get(name)})


def _given(labelled: Sequence[Row], given: set[str], seed: int) -> dict[str, list[Row]]:
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in labelled:
        parts[row.split or ""].append(row)
    if unassigned := len(parts.pop("", [])):
        _log.warning("%d images are in no split, while others are: they are left out.", unassigned)
    if "train" not in given:
        raise BottleneckError(
            f"the data name splits ({', '.join(sorted(given))}) and none of them is train; "
            "add one, or name no splits at all"
        )
    if "val" not in given:
        share = SHARES["val"] / (SHARES["train"] + SHARES["val"])
        parts |= _divide(parts["train"], {"train": 1 - share, "val": share}, seed)
    return parts


def _divide(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Divide each class's distinct images by the order of a hash of their digests."""
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
    """How many images of a class go where: one at least, as long as one is left to train on."""
    counts = {name: max(1, round(share * images)) for name, share in shares.items()}
    del counts["train"]
    for name in ("test", "val"):
        if sum(counts.values()) >= images:
            counts.pop(name, None)
    return {"train": images - sum(counts.values()), **counts}


def _refuse_untrained(parts: Mapping[str, Sequence[Row]], classes: Sequence[str]) -> None:
    trained = {row.label for row in parts["train"]}
    lacking = [name for name in classes if name not in trained]
    if lacking:
        raise BottleneckError(
            f"no images to train on for {len(lacking)} of {len(classes)} classes: {', '.join(lacking[:5])}; "
            "add some, or take the class out of the other splits"
        )
    if not parts.get("val"):
        raise BottleneckError(
            f"too few images to set some aside for validation: {len(parts['train'])}; "
            "some class needs 2 different ones or more"
        )


def _tell_of_untested(parts: Mapping[str, Sequence[Row]], classes: Sequence[str]) -> None:
    for name in ("val", "test"):
        there = {row.label for row in parts.get(name, ())}
        lacking = [label for label in classes if label not in there]
        if there and lacking:
            _log.warning(
                "%s has no images of %d of %d classes: %s; its figures say nothing of them.",
                name,
                len(lacking),
                len(classes),
                ", ".join(lacking[:5]),
            )


def _tell_of_straddlers(parts: Mapping[str, Sequence[Row]]) -> None:
    trained = {row.digest for row in parts["train"]}
    for name in ("val", "test"):
        shared = sum(row.digest in trained for row in parts.get(name, ()))
        if shared:
            _log.warning(
                "%d of %d images in %s are in train too, byte for byte: its figures will be too good.",
                shared,
                len(parts[name]),
                name,
            )
