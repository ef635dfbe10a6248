"""Charts of a report, as SVG that takes its colours and letters from the page around it."""

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

from bottleneck.evaluate.comparison import CurvePoint, Entry
from bottleneck.evaluate.intervals import Estimate
from bottleneck.evaluate.names import shorten
from bottleneck.runs.metrics import CONFIDENCE_BINS

# Matplotlib knows no "colour of the text around": what is drawn in this one, which nothing else
# has, becomes currentColor.
_INK = "#010203"

# Seen on white and on black (3:1 or more against both), and told apart by the colour-blind: after
# Okabe and Ito 2008, Color Universal Design, without black and yellow.
COLOURS = ("#3d8fd1", "#d9730d", "#129a74", "#cc5fa3", "#c0504d", "#8b78d9", "#a08000", "#6b8e9f")

# Names and numbers are written where there is room for them on a phone.
_NAMED = 20
_COUNTED = 12

# A phone's width in points, so that letters are not shrunk there.
_WIDTH, _HEIGHT = 4.4, 3.7

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bottleneck",  # or names of shapes would be random
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
    """Accuracy and its interval against the seconds a head took to fit, numbered by rank."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("seconds to fit", f"accuracy in {split}")
        axes.grid(alpha=0.25, linewidth=0.5)
        for rank, entry in enumerate(entries):
            if entry.costs is None or not entry.scores:
                continue
            seconds = max(entry.costs.fit_seconds, 1e-3)  # a logarithm is taken of it
            accuracy = entry.scores[split].figures["accuracy"]
            _point(axes, seconds, accuracy, COLOURS[rank % len(COLOURS)])
            # above and below in turn: heads of one rank after the other are often close together
            beside = (6, 5 if rank % 2 else -12)
            axes.annotate(
                str(rank + 1), (seconds, accuracy.value), beside, textcoords="offset points"
            )
        _logarithmic(axes)
        axes.margins(x=0.15)
        return _svg(figure, "time")


def learning_curves(points: Sequence[CurvePoint], entries: Sequence[Entry]) -> str:
    """Accuracy on val against how many images a head was fitted on."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("images fitted on", "accuracy in val")
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
    """How often a head is right, against how sure it is."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == y
    bins = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1, 0, CONFIDENCE_BINS - 1)
    counts = np.bincount(bins, minlength=CONFIDENCE_BINS)
    there = np.flatnonzero(counts)
    with mpl.rc_context(_STYLE):
        figure, axes = _new("confidence", "share that is right")
        axes.bar(
            (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS,
            counts / counts.sum(),
            width=0.9 / CONFIDENCE_BINS,
            color=COLOURS[7],
            alpha=0.35,
            label="share of images",
        )
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=0.8, label="calibrated")
        axes.plot(
            np.bincount(bins, confidence)[there] / counts[there],
            np.bincount(bins, right)[there] / counts[there],
            "o-",
            color=COLOURS[0],
            label="the best entry",
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure, "calibration")


def confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, str]:
    """Labels against predictions, and where in the picture the matrix lies.

    Returns
    -------
    str, str
        The SVG; and left, top, right and bottom of the matrix as parts of its width and height.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3] = mpl.colors.to_rgb(COLOURS[0])
    pixels[..., 3] = 0.75 * share  # the page shows through, whatever its colour
    with mpl.rc_context(_STYLE):
        figure, axes = _new("predicted", "label", height=4.4)
        axes.imshow(pixels, interpolation="none", aspect="auto")
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        if len(classes) <= _NAMED:
            places, names = range(len(classes)), [shorten(name, 14) for name in classes]
            axes.set_xticks(places, names, rotation=90 if len(classes) > 4 else 0)
            axes.set_yticks(places, names)
        if len(classes) <= _COUNTED:
            for row, column in np.ndindex(*counts.shape):
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of letters its font lacks; the reader's has them
            figure.draw_without_rendering()
        box = axes.get_position()
        places_in_picture = (box.x0, 1 - box.y1, box.x1, 1 - box.y0)
        return _svg(figure, "confusion"), ",".join(f"{part:.5f}" for part in places_in_picture)


def feature_map(
    places: NDArray[np.float64],
    y: NDArray[np.int64],
    right: NDArray[np.bool_],
) -> str:
    """Images as points; each ``use`` of a point has the number of its image as ``data-i``."""
    with mpl.rc_context(_STYLE):
        figure, axes = _new("", "", height=4.6)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        colours = np.array([COLOURS[label % len(COLOURS)] for label in y])
        order = []
        for marker, size, name, chosen in (("o", 16, "right", right), ("X", 34, "wrong", ~right)):
            there = np.flatnonzero(chosen)
            order.append((name, there))
            if len(there):
                axes.scatter(
                    places[there, 0],
                    places[there, 1],
                    c=colours[there],
                    marker=marker,
                    s=size,
                    alpha=0.85,
                    linewidths=0.6 if name == "wrong" else 0,
                    edgecolors=_INK if name == "wrong" else "none",
                    gid=name,
                )
        tree = _tree(figure)
        for name, there in order:
            group = next((one for one in tree.iter() if one.get("id") == name), None)
            uses = [] if group is None else [one for one in group.iter() if _tag(one) == "use"]
            for use, place in zip(uses, there, strict=True):
                use.set("data-i", str(place))
                use.set("data-class", str(y[place]))
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
    axes.xaxis.set_major_formatter("{x:g}")  # 10 to the power of something takes formulas
    axes.xaxis.set_minor_locator(NullLocator())


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _tree(figure: Figure) -> ElementTree.Element:
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters its font lacks; the reader's has them
        nothing: Mapping[str, None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    return ElementTree.fromstring(written.getvalue())


def _svg(figure: Figure, name: str) -> str:
    return _written(_tree(figure), name)


def _written(tree: ElementTree.Element, name: str) -> str:
    """Write it for use inside a page: names of its parts unlike those of other charts."""
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
    tree.set("aria-hidden", "true")  # what it shows is in words and tables beside it
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(tree, encoding="unicode")
