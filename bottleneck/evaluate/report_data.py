"""What a report shows: the chosen images, tables, and the data of its script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.rows import Row
from bottleneck.evaluate.checks import Pair, Suspect
from bottleneck.evaluate.comparison import Comparison
from bottleneck.evaluate.names import printable
from bottleneck.heads.data import LabelledFeatures, label_codes
from bottleneck.images.decode import Fit

# Limits of what a page shows. Each point of the map has a thumbnail of 2 kB: 1.5 MB for all of them.
POINTS = 600
_MISTAKES = 24
_LISTED = 50
_CONFUSIONS = 15


@dataclass(frozen=True)
class Best:
    """The best entry of a comparison, which the report shows in detail.

    Attributes
    ----------
    data : LabelledFeatures
        Features of the images of all splits.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        By split.
    resize : {"squash", "crop"}
        How its recipe resizes images to a square.
    """

    data: LabelledFeatures
    probabilities: Mapping[str, NDArray[np.float32]]
    resize: Fit


@dataclass(frozen=True)
class Shown:
    """Predictions of the best entry, and the images the report shows.

    Attributes
    ----------
    classes : list of str
        Names of the classes as they can be displayed.
    scored : tuple of Row
        The images of the split that the entry is scored on.
    y, predicted : ndarray of int64
        Label and prediction of each of them.
    p : ndarray of float32, shape (n, classes)
    sample : ndarray of int64
        Images on the map.
    worst : ndarray of int64
        The most confident mistakes.
    pairs, suspects : tuple
        The data checks' results that are listed.
    by_path : dict of str to Row
    """

    classes: list[str]
    scored: tuple[Row, ...]
    y: NDArray[np.int64]
    predicted: NDArray[np.int64]
    p: NDArray[np.float32]
    sample: NDArray[np.int64]
    worst: NDArray[np.int64]
    pairs: tuple[Pair, ...]
    suspects: tuple[Suspect, ...]
    by_path: Mapping[str, Row]

    @property
    def rows(self) -> list[Row]:
        """All images that need a thumbnail."""
        paths = [path for pair in self.pairs for path in (pair.first, pair.second)]
        paths += [suspect.path for suspect in self.suspects]
        own = [self.scored[i] for i in (*self.sample, *self.worst)]
        return [*own, *(self.by_path[path] for path in paths)]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Confusion matrix: labels in rows, predictions in columns."""
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (self.y, self.predicted), 1)
        return counts


def choose_images(comparison: Comparison, best: Best) -> Shown:
    """Choose the images that a report shows: a sample for the map, mistakes, and the data checks' results."""
    split = best.data.split
    scored = split.parts[comparison.judged_on]
    p = best.probabilities[comparison.judged_on]
    y, predicted = label_codes(scored, comparison.classes), p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    findings = comparison.findings
    return Shown(
        classes=[printable(name) for name in comparison.classes],
        scored=scored,
        y=y,
        predicted=predicted,
        p=p,
        sample=np.sort(np.random.default_rng(comparison.seed).permutation(len(scored))[:POINTS]),
        worst=wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:_MISTAKES],
        pairs=findings.duplicates[:_LISTED],
        suspects=findings.suspects[:_LISTED],
        by_path={row.path: row for part in split.parts.values() for row in part},
    )


def table_fields(shown: Shown, small: Mapping[str, str | None]) -> dict[str, Any]:
    """Build the fields of the template that are tables and galleries."""
    classes = shown.classes
    return {
        "classes": classes,
        "confusions": _confusions(shown.counts, classes),
        "per_class": _per_class(shown.counts, classes),
        "mistakes": [
            {
                "path": printable(shown.scored[i].path),
                "label": classes[shown.y[i]],
                "predicted": classes[shown.predicted[i]],
                "confidence": float(shown.p[i].max()),
                "thumbnail": small[shown.scored[i].digest],
            }
            for i in shown.worst
        ],
        "wrong": int((shown.predicted != shown.y).sum()),
        "pairs": [_pair(pair, shown.by_path, small) for pair in shown.pairs],
        "suspects": [
            {
                "suspect": suspect,
                "path": printable(suspect.path),
                "label": printable(suspect.label),
                "likely": printable(suspect.likely),
                "thumbnail": small[shown.by_path[suspect.path].digest],
            }
            for suspect in shown.suspects
        ],
    }


def script_data(shown: Shown, small: Mapping[str, str | None]) -> dict[str, Any]:
    """Collect what the script of the page shows under the pointer."""
    rows, p = shown.scored, shown.p
    return {
        "classes": shown.classes,
        "counts": shown.counts.tolist(),
        "points": [
            [
                printable(rows[i].path),
                int(shown.y[i]),
                int(shown.predicted[i]),
                round(float(p[i].max()), 3),
            ]
            for i in shown.sample
        ],
        "thumbnails": [small[rows[i].digest] for i in shown.sample],
    }


def _per_class(counts: NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    lines = []
    for label, name in enumerate(classes):
        images, predicted, hits = counts[label].sum(), counts[:, label].sum(), counts[label, label]
        others = counts[label].copy()
        others[label] = 0
        lines.append(
            {
                "name": name,
                "images": int(images),
                "precision": float(hits / predicted) if predicted else None,
                "recall": float(hits / images) if images else None,
                "f1": float(2 * hits / (images + predicted)) if images + predicted else None,
                "taken_for": classes[int(others.argmax())] if others.any() else "",
            }
        )
    return lines


def _confusions(counts: NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    off = counts.copy()
    np.fill_diagonal(off, 0)
    most = np.argsort(-off, axis=None, kind="stable")[:_CONFUSIONS]
    cells = [tuple(map(int, np.unravel_index(cell, off.shape))) for cell in most]
    return [
        {"label": classes[row], "predicted": classes[column], "images": int(off[row, column])}
        for row, column in cells
        if off[row, column]
    ]


def _pair(
    pair: Pair, by_path: Mapping[str, Row], small: Mapping[str, str | None]
) -> dict[str, Any]:
    sides = [
        {
            "path": printable(path),
            "split": split,
            "label": printable(label),
            "thumbnail": small[by_path[path].digest],
        }
        for path, split, label in (
            (pair.first, pair.first_split, pair.first_label),
            (pair.second, pair.second_split, pair.second_label),
        )
    ]
    return {"sides": sides, "cosine": pair.cosine, "identical": pair.identical}
