"""Charts of a report, as SVG that inherits text colour and font from the page."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from bottleneck.evaluate.comparison import SPLIT_NAMES, CurvePoint, Entry
from bottleneck.evaluate.intervals import Estimate
from bottleneck.evaluate.names import shorten
from bottleneck.runs.metrics import CONFIDENCE_BINS

# Stands for the text colour of the page, which Matplotlib has no name for: this colour, used for nothing
# else, is replaced with currentColor.
_INK = "#010203"

# Contrast of 3:1 or more on white and on black, and distinguishable by colour-blind readers: after
# Okabe and Ito 2008, Color Universal Design, without black and yellow.
COLOURS = ("#3d8fd1", "#d9730d", "#129a74", "#cc5fa3", "#c0504d", "#8b78d9", "#a08000", "#6b8e9f")

# Largest numbers of classes whose names, or counts, have room on a phone.
_NAMED = 20
_COUNTED = 12

# In inches: the width of a phone, so that text is not scaled down there.
_WIDTH, _HEIGHT = 4.4, 3.7

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bottleneck",  # otherwise the ids of shapes are random
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.5,
}


def accuracy_against_time(entries: Sequence[Entry], split: str) -> str:
    """Draw accuracy, with its interval, against the time to fit; points are numbered by rank."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("time to fit (s)", f"{SPLIT_NAMES[split]} accuracy")
        axes.grid(alpha=0.25, linewidth=0.5)
        for rank, entry in enumerate(entries):
            if entry.costs is None or not entry.scores:
                continue
            seconds = max(entry.costs.fit_seconds, 1e-3)  # the axis is logarithmic
            accuracy = entry.scores[split].figures["accuracy"]
            _point(axes, seconds, accuracy, COLOURS[rank % len(COLOURS)])
            # alternately above and below: neighbours in rank are often close together
            beside = (6, 5 if rank % 2 else -12)
            axes.annotate(
                str(rank + 1), (seconds, accuracy.value), beside, textcoords="offset points"
            )
        _logarithmic(axes)
        axes.margins(x=0.15)
        return _svg(figure, "time")


def learning_curves(points: Sequence[CurvePoint], entries: Sequence[Entry]) -> str:
    """Draw validation accuracy against the number of training images."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("training images", "validation accuracy")
        for rank, entry in enumerate(entries):
            own = [point for point in points if point.entry == entry.name]
            if not own:
                continue
            colour = COLOURS[rank % len(COLOURS)]
            images = [point.images for point in own]
            axes.plot(images, [p.accuracy.value for p in own], "o-", color=colour, label=rank + 1)
            low, high = ([getattr(p.accuracy, end) for p in own] for end in ("low", "high"))
            axes.fill_between(images, low, high, color=colour, alpha=0.15, linewidth=0)
        _logarithmic(axes)
        figure.legend(loc="outside lower center", ncols=6)
        return _svg(figure, "curve")


def calibration(y: NDArray[np.int64], probabilities: NDArray[np.float32]) -> str:
    """Draw accuracy against confidence, with the distribution of confidence."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == y
    bins = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1, 0, CONFIDENCE_BINS - 1)
    counts = np.bincount(bins, minlength=CONFIDENCE_BINS)
    used = np.flatnonzero(counts)
    with mpl.rc_context(_STYLE):
        figure, axes = _new("confidence", "accuracy")
        axes.bar(
            (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS,
            counts / counts.sum(),
            width=0.9 / CONFIDENCE_BINS,
            color=COLOURS[7],
            alpha=0.35,
            label="share of images",
        )
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=0.8, label="perfect calibration")
        axes.plot(
            np.bincount(bins, confidence)[used] / counts[used],
            np.bincount(bins, correct)[used] / counts[used],
            "o-",
            color=COLOURS[0],
            label="best entry",
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure, "calibration")


def confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, str]:
    """Draw the confusion matrix.

    Returns
    -------
    svg : str
    box : str
        Left, top, right and bottom of the matrix, as fractions of the width and height of the chart.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3] = mpl.colors.to_rgb(COLOURS[0])
    pixels[..., 3] = 0.75 * share  # transparent, so that it suits light and dark pages
    with mpl.rc_context(_STYLE):
        figure, axes = _new("predicted", "label", height=4.4)
        axes.imshow(pixels, interpolation="none", aspect="auto")
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        if len(classes) <= _NAMED:
            ticks, names = range(len(classes)), [shorten(name, 14) for name in classes]
            axes.set_xticks(ticks, names, rotation=90 if len(classes) > 4 else 0)
            axes.set_yticks(ticks, names)
        if len(classes) <= _COUNTED:
            for row, column in np.ndindex(*counts.shape):
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center")
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about glyphs missing from Matplotlib's font; the browser has others
            figure.draw_without_rendering()
        box = axes.get_position()
        edges = (box.x0, 1 - box.y1, box.x1, 1 - box.y0)
        return _svg(figure, "confusion"), ",".join(f"{edge:.5f}" for edge in edges)


def feature_map(
    positions: NDArray[np.float64],
    y: NDArray[np.int64],
    correct: NDArray[np.bool_],
) -> str:
    """Draw images as points; each ``use`` element has the number of its image as ``data-i``."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("", "", height=4.6)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        colours = np.array([COLOURS[label % len(COLOURS)] for label in y])
        order = []
        for marker, size, name, chosen in (
            ("o", 16, "right", correct),
            ("X", 34, "wrong", ~correct),
        ):
            images = np.flatnonzero(chosen)
            order.append((name, images))
            if len(images):
                axes.scatter(
                    positions[images, 0],
                    positions[images, 1],
                    c=colours[images],
                    marker=marker,
                    s=size,
                    alpha=0.85,
                    linewidths=0.6 if name == "wrong" else 0,
                    edgecolors=_INK if name == "wrong" else "none",
                    gid=name,
                )
        tree = _tree(figure)
        for name, images in order:
            group = next((one for one in tree.iter() if one.get("id") == name), None)
            uses = [] if group is None else [one for one in group.iter() if _tag(one) == "use"]
            for use, image in zip(uses, images, strict=True):
                use.set("data-i", str(image))
                use.set("data-class", str(y[image]))
        return _written(tree, "map")


def _point(axes: Axes, x: float, estimate: Estimate, colour: str) -> None:
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    axes.errorbar(x, estimate.value, [[below], [above]], fmt="o", color=colour, capsize=3)


def _new(x: str, y: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter("{x:g}")  # powers of ten would need math text
    axes.xaxis.set_minor_locator(NullLocator())


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _tree(figure: Figure) -> ElementTree.Element:
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about glyphs missing from Matplotlib's font; the browser has others
        nothing: Mapping[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    return ElementTree.fromstring(written.getvalue())


def _svg(figure: Figure, name: str) -> str:
    return _written(_tree(figure), name)


def _written(tree: ElementTree.Element, name: str) -> str:
    """Serialise a chart for use inside a page, with ids that differ from those of other charts."""
    link = "{http://www.w3.org/1999/xlink}href"
    for element in tree.iter():
        for attribute in ("id", link, "clip-path", "style"):
            value = element.get(attribute)
            if value is None or value.startswith("data:"):
                continue
            if attribute == "id":
                value = f"{name}-{value}"
            value = value.replace("url(#", f"url(#{name}-").replace(_INK, "currentColor")
            if attribute == link:
                value = value.replace("#", f"#{name}-", 1)
            element.set(attribute, value)
    for attribute in ("width", "height"):
        tree.attrib.pop(attribute, None)
    tree.set("aria-hidden", "true")  # the page has the same facts as text and tables
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(tree, encoding="unicode")
