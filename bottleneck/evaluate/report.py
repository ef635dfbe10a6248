"""Report of a comparison: one self-contained HTML file."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from bottleneck.cache.atomic import write_output
from bottleneck.cache.features import Located
from bottleneck.errors import BottleneckError
from bottleneck.evaluate import charts
from bottleneck.evaluate.comparison import LEVEL, SPLIT_NAMES, Comparison
from bottleneck.evaluate.duplicates import pool_maps
from bottleneck.evaluate.names import printable
from bottleneck.evaluate.report_data import Best, Shown, choose_images, script_data, table_fields
from bottleneck.evaluate.thumbnails import SIDE, thumbnails
from bottleneck.extraction.progress import Progress

# Perplexity of t-SNE if there are enough images: scikit-learn's default.
_PERPLEXITY = 30
# Number of principal components that t-SNE starts from: van der Maaten and Hinton 2008, Visualizing Data using
# t-SNE, section 4.2.
_COMPONENTS = 50
# Iterations of t-SNE, half of scikit-learn's default: hundreds of points hardly move after that.
_STEPS = 500


def write_report(
    file: Path, comparison: Comparison, best: Best, root: str, progress: Progress
) -> None:
    """Write the report.

    Parameters
    ----------
    file : Path
    comparison : Comparison
    best : Best
    root : str
        Folder that the paths of images are relative to.
    progress : callable

    Raises
    ------
    BottleneckError
        If the file cannot be written.
    """
    shown = choose_images(comparison, best)
    small = thumbnails(root, shown.rows, best.resize, progress)
    page = _template().render(
        **_comparison_fields(comparison),
        **_figure_fields(comparison, best, shown, progress),
        **table_fields(shown, small),
        data=script_data(shown, small),
        style=Markup(_resource("style.css")),
        script=Markup(_resource("script.js")),
        script_digest=_digest(_resource("script.js")),
    )
    try:
        # "replace": the name of a folder or a message may hold bytes that are not text
        write_output(file, page.encode("utf-8", "replace"))
    except OSError as error:
        raise BottleneckError(
            f"cannot write {file}: {error.strerror}; give another file with --report"
        ) from error


def _comparison_fields(comparison: Comparison) -> dict[str, Any]:
    entries, split = comparison.entries, comparison.judged_on
    has_costs = any(entry.costs for entry in entries)
    return {
        "comparison": comparison,
        "names": [printable(entry.name) for entry in entries],
        "words": [printable(line) for line in comparison.words],
        "warnings": [printable(line) for line in comparison.findings.warnings],
        "judged": split,
        "split_name": SPLIT_NAMES[split],
        "level": LEVEL,
        "side": SIDE,
        "time": Markup(charts.accuracy_against_time(entries, split)) if has_costs else None,
        "curve": Markup(charts.learning_curves(comparison.curve, entries))
        if comparison.curve
        else None,
    }


def _figure_fields(
    comparison: Comparison, best: Best, shown: Shown, progress: Progress
) -> dict[str, Any]:
    confusion, box = charts.confusion(shown.counts, shown.classes)
    progress("map", 0, 1)
    first = best.data.slices[comparison.judged_on].start
    positions = _positions(best.data.plain, first + shown.sample, comparison.seed)
    progress("map", 1, 1)
    sample = shown.sample
    correct = shown.predicted[sample] == shown.y[sample]
    return {
        "calibration": Markup(charts.calibration(shown.y, shown.p)),
        "confusion": Markup(confusion),
        "confusion_box": box,
        "map": Markup(charts.feature_map(positions, shown.y[sample], correct))
        if positions is not None
        else None,
        "colours": charts.COLOURS,
        "points": len(sample),
        "images": len(shown.scored),
    }


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
    """Digest of the page's own script: the browser runs no other, such as one hidden in a file name."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _positions(images: Located, rows: NDArray[np.int64], seed: int) -> NDArray[np.float64] | None:
    """Place images on a plane by the t-SNE of their features; None if there are too few."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(rows) < 3:
        return None
    X = pool_maps(images.take(rows).gather(slice(None)).X).astype(np.float64)
    X -= X.mean(axis=0)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    X = PCA(min(_COMPONENTS, *X.shape), random_state=seed).fit_transform(X)
    perplexity = min(_PERPLEXITY, (len(X) - 1) / 3)
    # start from the principal components, as scikit-learn does, but also if all features are equal
    start = X[:, :2] if X.shape[1] > 1 else np.repeat(X, 2, axis=1)
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-9)
    # One thread: t-SNE synchronises its threads at many short steps. On a machine that runs another
    # program, two threads took four times as long as one.
    with threadpool_limits(1):
        positions: NDArray[np.float64] = TSNE(
            init=start, perplexity=perplexity, max_iter=_STEPS, random_state=seed
        ).fit_transform(X)
    return positions
