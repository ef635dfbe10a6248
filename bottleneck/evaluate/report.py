"""A comparison as one HTML file that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.evaluate import charts
from bottleneck.evaluate.comparison import LEVEL, Comparison
from bottleneck.evaluate.duplicates import pool_maps
from bottleneck.evaluate.guards import Pair
from bottleneck.evaluate.names import printable
from bottleneck.evaluate.thumbnails import SIDE, thumbnails
from bottleneck.extraction.progress import Progress
from bottleneck.heads.data import label_codes, split_slices
from bottleneck.heads.split import Split
from bottleneck.images.decode import Fit

# What a page shows at most. Each point of the map has a thumbnail of 2 kB, which makes for 1.5 MB.
POINTS = 600
_MISTAKES = 24
_LISTED = 50
_CONFUSIONS = 15

# Neighbours each image is placed by, where there are enough: scikit-learn's own choice.
_PERPLEXITY = 30
# t-SNE is run on so many principal components: van der Maaten and Hinton 2008, Visualizing Data using
# t-SNE, section 4.2.
_COMPONENTS = 50
# Half of scikit-learn's: with hundreds of points they hardly move after that.
_STEPS = 500


def write_report(
    file: Path,
    comparison: Comparison,
    views: Sequence[Located],
    probabilities: Mapping[str, NDArray[np.float32]],
    fit: Fit,
    split: Split,
    root: str,
    progress: Progress,
) -> None:
    """Write the report.

    Parameters
    ----------
    file : Path
    comparison : Comparison
    views : sequence of Located
        Features of the best entry, of the images of all splits; the first are of the plain view.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        Of the best entry, by split.
    fit : {"squash", "crop"}
        How its recipe brings pictures to a square.
    split : Split
    root : str
        The folder that paths of images start from.
    progress : callable

    Raises
    ------
    BottleneckError
        It cannot be written.
    """
    judged = comparison.judged_on
    rows, p = split.parts[judged], probabilities[judged]
    classes = [printable(name) for name in comparison.classes]
    y, predicted = label_codes(rows, comparison.classes), p.argmax(axis=1)
    sample = np.sort(np.random.default_rng(comparison.seed).permutation(len(rows))[:POINTS])
    wrong = np.flatnonzero(predicted != y)
    worst = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:_MISTAKES]
    findings = comparison.findings
    pairs, suspects = findings.duplicates[:_LISTED], findings.suspects[:_LISTED]
    by_path = {row.path: row for part in split.parts.values() for row in part}
    named = [path for pair in pairs for path in (pair.first, pair.second)]
    named += [suspect.path for suspect in suspects]
    shown = [*(rows[i] for i in (*sample, *worst)), *(by_path[path] for path in named)]
    small = thumbnails(root, shown, fit, progress)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (y, predicted), 1)
    confusion, box = charts.confusion(counts, classes)
    progress("map", 0, 1)
    positions = _positions(views[0], split_slices(split)[judged], sample, comparison.seed)
    progress("map", 1, 1)
    addresses = [small[rows[i].digest] for i in sample]
    page = _template().render(
        comparison=comparison,
        names=[printable(entry.name) for entry in comparison.entries],
        words=[printable(line) for line in comparison.words],
        warnings=[printable(line) for line in findings.warnings],
        judged=judged,
        level=LEVEL,
        side=SIDE,
        time=Markup(charts.accuracy_against_time(comparison.entries, judged))
        if any(entry.costs for entry in comparison.entries)
        else None,
        curve=Markup(charts.learning_curves(comparison.curve, comparison.entries))
        if comparison.curve
        else None,
        calibration=Markup(charts.calibration(y, p)),
        confusion=Markup(confusion),
        confusion_box=box,
        confusions=_confusions(counts, classes),
        per_class=_per_class(counts, classes),
        map=Markup(charts.feature_map(positions, y[sample], predicted[sample] == y[sample]))
        if positions is not None
        else None,
        classes=classes,
        colours=charts.COLOURS,
        points=len(sample),
        images=len(rows),
        mistakes=[
            {
                "path": printable(rows[i].path),
                "label": classes[y[i]],
                "predicted": classes[predicted[i]],
                "confidence": float(p[i].max()),
                "thumbnail": small[rows[i].digest],
            }
            for i in worst
        ],
        wrong=len(wrong),
        pairs=[_pair(pair, by_path, small) for pair in pairs],
        suspects=[
            {
                "suspect": suspect,
                "path": printable(suspect.path),
                "label": printable(suspect.label),
                "likely": printable(suspect.likely),
                "thumbnail": small[by_path[suspect.path].digest],
            }
            for suspect in suspects
        ],
        data={
            "classes": classes,
            "counts": counts.tolist(),
            "points": [
                [printable(rows[i].path), int(y[i]), int(predicted[i]), round(float(p[i].max()), 3)]
                for i in sample
            ],
            "thumbnails": addresses,
        },
        style=Markup(_resource("style.css")),
        script=Markup(_resource("script.js")),
        script_digest=_digest(_resource("script.js")),
    )
    try:
        # "replace" for what a folder's own name or a message may hold
        file.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise BottleneckError(
            f"cannot write {file}: {error.strerror}; give another file with --report"
        ) from error


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("bottleneck.evaluate", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _resource(name: str) -> str:
    return files("bottleneck.evaluate").joinpath("page", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """Tell the browser which script may run: ours and none that a name might smuggle in."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _positions(
    images: Located, place: slice, sample: NDArray[np.int64], seed: int
) -> NDArray[np.float64] | None:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(sample) < 3:
        return None
    X = pool_maps(images.take(place.start + sample).gather(slice(None)).X).astype(np.float64)
    X -= X.mean(axis=0)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    X = PCA(min(_COMPONENTS, *X.shape), random_state=seed).fit_transform(X)
    perplexity = min(_PERPLEXITY, (len(X) - 1) / 3)
    # as scikit-learn starts from the principal components, but also where all features are the same
    start = X[:, :2] if X.shape[1] > 1 else np.repeat(X, 2, axis=1)
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-9)
    # Its threads wait for each other at each of many short steps: where another program runs too, two
    # were measured to take four times as long as one.
    with threadpool_limits(1):
        placed: NDArray[np.float64] = TSNE(
            init=start, perplexity=perplexity, max_iter=_STEPS, random_state=seed
        ).fit_transform(X)
    return placed


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
    places = np.argsort(-off, axis=None, kind="stable")[:_CONFUSIONS]
    cells = [tuple(map(int, np.unravel_index(place, off.shape))) for place in places]
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
