"""Registry of export formats. To add a format, add an entry."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.bases.backend import load_keras
from bottleneck.errors import BottleneckError
from bottleneck.serve.graph import PIXELS, PROBABILITIES, Classifier
from bottleneck.serve.savedmodel import ENCODED, write_savedmodel

CLASSES_FILE = "classes.json"

# An ONNX operator set that all recent runtimes support; nothing newer is needed.
_OPSET = 17

# From uint8 pixels (n, size, size, 3) to float32 probabilities (n, classes).
Predictor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes
    ----------
    name : str
        Name in ``--format``.
    summary : str
        Use of the format, in one line.
    file : str
        Name of the graph in the export folder; a folder itself for a SavedModel.
    library : str
        Name of the loading library on the Hugging Face hub.
    write : callable
        Writes a classifier to the file.
    load : callable
        Loads the file without this package and returns a predictor for each of its signatures.
    extra : str or None
        The extra of this package that installs `modules`.
    modules : tuple of str
        Modules it needs.
    """

    name: str
    summary: str
    file: str
    library: str
    write: Callable[[Classifier, Path], None]
    load: Callable[[Path], tuple[Predictor, ...]]
    extra: str | None = None
    modules: tuple[str, ...] = ()


def find_format(name: str) -> Format:
    """Look up a format and check that its packages are installed.

    Raises
    ------
    BottleneckError
        The format is unknown, or a package is missing.

    Examples
    --------
    >>> find_format("keras").file
    'model.keras'
    >>> find_format("pickle")
    Traceback (most recent call last):
    bottleneck.errors.BottleneckError: unknown format 'pickle'; --format takes keras, savedmodel, onnx or litert
    """
    if name not in FORMATS:
        *others, last = FORMATS
        raise BottleneckError(
            f"unknown format {name!r}; --format takes {', '.join(others)} or {last}"
        )
    found = FORMATS[name]
    missing = [module for module in found.modules if find_spec(module) is None]
    if missing:
        raise BottleneckError(
            f"--format {name} needs {', '.join(missing)}, not installed here; install with: "
            f"pip install 'bottleneck-features[{found.extra}]'"
        )
    return found


def names_json(classes: Sequence[str]) -> str:
    """Write names as JSON in ASCII."""
    return json.dumps(list(classes))


def _write_keras(classifier: Classifier, file: Path) -> None:
    classifier.model.save(file)
    _append_names(file, classifier.classes)


def _load_keras(file: Path) -> tuple[Predictor, ...]:
    model = load_keras().models.load_model(file, compile=False, safe_mode=True)
    return (lambda pixels: np.asarray(model.predict_on_batch(pixels)),)


def _load_savedmodel(folder: Path) -> tuple[Predictor, ...]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def of_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = loaded.signatures["serving_default"](**{PIXELS: tf.constant(pixels)})
        return np.asarray(outputs[PROBABILITIES])

    def of_files(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        files = tf.constant([_png(square) for square in pixels])
        return np.asarray(loaded.signatures[ENCODED](image_bytes=files)[PROBABILITIES])

    return of_pixels, of_files


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _write_onnx(classifier: Classifier, file: Path) -> None:
    # Not graph.export, which numbers the outputs instead of naming them.
    import onnx
    import tf2onnx

    function, _ = _function(classifier.model)
    traced = function.get_concrete_function()
    names = {f"{PIXELS}:0": PIXELS, traced.outputs[0].name: PROBABILITIES}
    # Not from_function, which treats constants outside the graph, such as those of Normalization, as more
    # inputs.
    frozen = tf2onnx.tf_loader.from_function(traced, *([name] for name in names))
    model, _ = tf2onnx.convert.from_graph_def(
        frozen,
        input_names=[*names][:1],
        output_names=[*names][1:],
        tensors_to_rename=names,
        opset=_OPSET,
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.helper.set_model_props(model, {"classes": names_json(classifier.classes)})
    onnx.save(model, file)


def _load_onnx(file: Path) -> tuple[Predictor, ...]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return (lambda pixels: np.asarray(session.run([PROBABILITIES], {PIXELS: pixels})[0]),)


def _write_litert(classifier: Classifier, file: Path) -> None:
    # Not graph.export, which numbers the outputs and allows operators that the interpreter does not include.
    import tensorflow as tf

    function, spec = _function(classifier.model)
    archive = load_keras().export.ExportArchive()
    archive.track(classifier.model)
    archive.add_endpoint("serving_default", function, input_signature=[spec])
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        archive.write_out(folder, verbose=False)
        file.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    _append_names(file, classifier.classes)


def _load_litert(file: Path) -> tuple[Predictor, ...]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))

    def of_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        run = interpreter.get_signature_runner("serving_default")
        return np.array(run(**{PIXELS: pixels})[PROBABILITIES])

    return (of_pixels,)


def _function(model: Any) -> tuple[Any, Any]:
    """Make a function of a model with a named output, and the specification of its input."""
    import tensorflow as tf

    spec = tf.TensorSpec(model.input_shape, tf.uint8, name=PIXELS)

    def of_pixels(pixels: Any) -> dict[str, Any]:
        return {PROBABILITIES: model(pixels, training=False)}

    return tf.function(of_pixels, input_signature=[spec], autograph=False), spec


def _append_names(file: Path, classes: Sequence[str]) -> None:
    # A .keras file is a ZIP archive, and a .tflite file may have one appended, like its own metadata.
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(CLASSES_FILE, names_json(classes))


FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in [
        Format(
            name="keras",
            summary="for Keras, from Python",
            file="model.keras",
            library="keras",
            write=_write_keras,
            load=_load_keras,
        ),
        Format(
            name="savedmodel",
            summary="for TensorFlow Serving; also takes image files",
            # TensorFlow Serving looks for numbered versions
            file="1",
            library="tensorflow",
            write=write_savedmodel,
            load=_load_savedmodel,
        ),
        Format(
            name="onnx",
            summary="for ONNX Runtime, from many languages",
            file="model.onnx",
            library="onnx",
            write=_write_onnx,
            load=_load_onnx,
            extra="onnx",
            modules=("onnx", "tf2onnx", "onnxruntime"),
        ),
        Format(
            name="litert",
            summary="for LiteRT (TensorFlow Lite), on phones and small computers",
            file="model.tflite",
            library="tflite",
            write=_write_litert,
            load=_load_litert,
            extra="litert",
            modules=("ai_edge_litert",),
        ),
    ]
}
