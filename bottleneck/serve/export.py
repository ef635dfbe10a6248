"""`bottleneck export`: write a run as one graph that does not need this package."""

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
from bottleneck.serve.graph import Classifier, build_run_graph, shared_input
from bottleneck.serve.predict import predict
from bottleneck.serve.samples import write_samples

_log = logging.getLogger("bottleneck")

CARD = "README.md"

# Largest allowed difference of probabilities, by the precision of the run's base; the graph always computes in
# float32. Measured on 64 photographs with MobileNet: 2e-7 in float32, 6e-3 in float16 and 8e-2 in bfloat16.
LIMITS = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.2}

# The same for features that are only stored in half precision; measured: 1.4e-4.
STORED_HALF = 1e-3


@dataclass(frozen=True)
class Exported:
    """An export.

    Attributes
    ----------
    path : Path
        Folder of the export.
    file : Path
        The graph in this folder: the file to load.
    format : str
    classes : tuple of str
        In the order of the outputs.
    check : Check
        Comparison with the run.
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

    The file is then loaded by its own runtime, without this package, and its predictions on some images are
    compared with those of the run.

    Parameters
    ----------
    run : path
        The run's folder.
    out : path
        Folder to write, which must not exist. It gets the graph, ``classes.json`` and a model card,
        ``README.md``.
    format : {"keras", "savedmodel", "onnx", "litert"}
    weights : str or path, optional
        Where the base's weights are now, if they have moved since the run was fitted. Other weights are an
        error.
    progress : callable
        Called with the step's name, the number done and the total.

    Returns
    -------
    Exported

    Raises
    ------
    BottleneckError
        The run cannot be read or cannot be one graph, `out` exists, a package is missing, the format does not
        support the graph, or the predictions of the file differ from those of the run. `out` is not created
        then.

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
        model = build_run_graph(known, home, weights)
        progress("loading", 1, 1)
        classifier = Classifier(model, known.classes, shared_input(known).fit)
        _write(classifier, kind, folder / kind.file, progress)
        check = _compare(home, known, weights, kind, folder / kind.file, progress)
        (folder / CLASSES_FILE).write_text(names_json(known.classes) + "\n")
        card = make_card(known, kind, check, _versions(kind))
        (folder / CARD).write_text(card, encoding="utf-8")
    if known.predict_views > 1 and known.best != TUNED:
        _log.warning(
            "The run averages over %d views of an image and the graph takes one; predictions will differ slightly.",
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
    except Exception as error:  # converters raise exceptions of any kind
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
    recipe = shared_input(run)
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as samples:
        images = write_samples(run, folder, Path(samples))
        own = predict(folder, samples, weights=weights, plain=True, progress=progress)
        files = [Path(samples) / path for path in own.paths]
        pixels = [decode(each.read_bytes(), recipe.image_size, recipe.fit) for each in files]
    try:
        with quiet_stderr():
            given = [predict_file(np.stack(pixels)) for predict_file in kind.load(file)]
    except Exception as error:  # runtimes raise exceptions of any kind
        raise BottleneckError(
            f"the {kind.name} file cannot be run ({_line(error)}); give another --format"
        ) from error
    largest = max(float(np.abs(p - own.probabilities).max()) for p in given)
    limit = max(map(_limit, run.recipes))
    # written so that NaN is an error too
    if not largest <= limit:
        raise BottleneckError(
            f"the {kind.name} file does not give the predictions of {folder}: on {images} probabilities differ by "
            f"up to {largest:.1e}, and the limit is {limit:g}; the export was deleted. Give another --format"
        )
    return Check(images, largest, limit)


def _limit(recipe: Recipe) -> float:
    return max(LIMITS[recipe.precision], STORED_HALF if recipe.dtype == "float16" else 0.0)


def _versions(kind: Format) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("bottleneck-features", "keras", "tensorflow", *kind.modules):
        # some builds of TensorFlow have other names
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _line(error: Exception) -> str:
    # 300 characters are enough to recognise the problem; converters print whole graphs
    return one_line(error)[:300]
