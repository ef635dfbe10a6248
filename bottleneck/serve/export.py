"""`bottleneck export`: a run as one file that needs nothing of ours."""

import contextlib
import logging
import os
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from bottleneck.bases.backend import quiet_stderr
from bottleneck.cache.atomic import new_folder
from bottleneck.cache.recipe import Recipe
from bottleneck.errors import BottleneckError, one_line
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.images.decode import decode
from bottleneck.runs.run import TUNED, Run, read_run, run_folder
from bottleneck.serve.card import Check, make_card
from bottleneck.serve.formats import CLASSES_FILE, Format, find_format, names_json
from bottleneck.serve.graph import Classifier, graph_of, picture_of
from bottleneck.serve.predict import predict
from bottleneck.serve.samples import write_samples

_log = logging.getLogger("bottleneck")

CARD = "README.md"

# What probabilities may differ by, by what the run's base computes in; the graph always computes in single
# precision. Measured: 2e-7 where that is the same, in another order; 6e-3 and 8e-2 with MobileNet in
# half precision, on 64 photographs.
LIMITS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.2}

# The same, where features were only stored in half precision: measured 1.4e-4.
STORED_HALF = 1e-3


@dataclass(frozen=True)
class Exported:
    """An export and where it lies.

    Attributes
    ----------
    path : Path
        Its folder.
    file : Path
        What is to be loaded, in it.
    format : str
    classes : tuple of str
        In the order of the outputs.
    check : Check
        How it was compared with its run.
    """

    path: Path
    file: Path
    format: str
    classes: tuple[str, ...]
    check: Check


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str = "keras",  # noqa: A002 - what Keras calls it
    *,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Exported:
    """Write a run as one graph, from pixels to the probabilities of named classes.

    What is written is loaded back as anybody would who has nothing of ours, and compared with what the
    run itself says of some pictures.

    Parameters
    ----------
    run : path
        The run's folder.
    out : path
        A folder to write, which must not exist: the graph, ``classes.json`` and ``README.md``, a model
        card.
    format : {"keras", "savedmodel", "onnx", "litert"}
    weights : str or path, optional
        Where the base's weights are now, if no longer where they were when the run was fitted. Other
        weights are refused.
    progress : callable
        Called with the step's name, how many are done, and how many there are.

    Returns
    -------
    Exported

    Raises
    ------
    BottleneckError
        The run cannot be read or cannot be one graph, `out` exists, a package is missing, the format
        cannot hold the graph, or what was written does not say what the run says. Nothing is left then.

    Examples
    --------
    >>> exported = export(example_run, example_folder / "served")
    >>> sorted(path.name for path in exported.path.iterdir())
    ['README.md', 'classes.json', 'model.keras']
    >>> exported.classes, exported.check.largest_difference < 1e-4
    (('flower', 'temple'), True)
    """
    kind = find_format(format)
    home = run_folder(run)
    known = read_run(home)
    with new_folder(Path(out), "an export", "give another OUT") as folder:
        progress("loading", 0, 0)
        model = graph_of(known, home, weights)
        progress("loading", 1, 1)
        classifier = Classifier(model, known.classes, picture_of(known).fit)
        _write(classifier, kind, folder / kind.file, progress)
        check = _compare(home, known, weights, kind, folder / kind.file, progress)
        (folder / CLASSES_FILE).write_text(names_json(known.classes) + "\n")
        card = make_card(known, kind, check, _versions(kind))
        (folder / CARD).write_text(card, encoding="utf-8")
    if known.predict_views > 1 and known.best != TUNED:
        _log.warning(
            "The run averages over %d views of a picture, the graph takes one: predictions will differ a little.",
            known.predict_views,
        )
    return Exported(Path(out), Path(out) / kind.file, format, known.classes, check)


def _write(classifier: Classifier, kind: Format, file: Path, progress: Progress) -> None:
    step = f"writing {kind.file}"
    progress(step, 0, 0)
    try:
        with quiet_stderr():
            kind.write(classifier, file)
    except OSError:
        raise
    except Exception as error:  # converters raise what they like
        raise BottleneckError(
            f"this graph cannot be written as {kind.name} ({_line(error)}); give another --format"
        ) from error
    progress(step, 1, 1)


def _compare(
    folder: Path,
    run: Run,
    weights: str | os.PathLike[str] | None,
    kind: Format,
    file: Path,
    progress: Progress,
) -> Check:
    recipe = picture_of(run)
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as place:
        pictures = write_samples(run, folder, Path(place))
        own = predict(folder, place, weights=weights, plain=True, progress=progress)
        files = [Path(place) / path for path in own.paths]
        pixels = [decode(each.read_bytes(), recipe.image_size, recipe.fit) for each in files]
    try:
        with quiet_stderr():
            given = [way(np.stack(pixels)) for way in kind.load(file)]
    except Exception as error:  # runtimes raise what they like
        raise BottleneckError(
            f"what was written as {kind.name} cannot be run ({_line(error)}); give another --format"
        ) from error
    largest = max(float(np.abs(p - own.probabilities).max()) for p in given)
    limit = max(map(_limit, run.recipes))
    # so that NaN is refused too
    if not largest <= limit:
        raise BottleneckError(
            f"what was written as {kind.name} does not say what {folder} says: probabilities differ by up to "
            f"{largest:.1e} on {pictures}, and the limit is {limit:g}; nothing was kept. Give another --format"
        )
    return Check(pictures, largest, limit)


def _limit(recipe: Recipe) -> float:
    return max(LIMITS[recipe.precision], STORED_HALF if recipe.dtype == "float16" else 0.0)


def _versions(kind: Format) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("bottleneck-features", "keras", "tensorflow", *kind.modules):
        # builds of TensorFlow have names of their own
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _line(error: Exception) -> str:
    # enough to see what it is about; converters print whole graphs
    return one_line(error)[:300]
