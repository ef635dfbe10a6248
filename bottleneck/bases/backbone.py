"""Networks of the user's own, from ``.keras`` files."""

import dataclasses
import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, get_args

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import PREPROCESSING, TOP, Base, PreprocessingName, empty_map
from bottleneck.errors import BottleneckError

SUFFIX = ".keras"

# What most networks are trained on; for those that take any size.
_IMAGE_SIZE = 224

# Characters of a file's name in that of its base, which becomes part of a folder's name.
_STEM_LENGTH = 40

# What reading a damaged or encrypted archive raises, or one of an unknown compression.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, OSError)

_NAME = re.compile(rf".+-({'|'.join(get_args(PreprocessingName))})-([0-9a-f]{{8}})")


def find_backbone(file: Path, preprocessing: str | None) -> Base:
    """Make a base of a ``.keras`` file, without importing Keras.

    Parameters
    ----------
    file : path
    preprocessing : {"tf", "caffe", "torch", "none"}
        What the network expects of pixels, which its file does not say.

    Raises
    ------
    BottleneckError
        There is no such file, it is damaged, or the network takes no pictures; or the preprocessing is
        not said.
    """
    if not file.is_file():
        raise BottleneckError(
            f"no file {file}; --base takes the name of a base (see: bottleneck bases list) or a {SUFFIX} file"
        )
    if preprocessing is None or preprocessing not in PREPROCESSING:
        raise BottleneckError(
            f"what {file} expects of pixels cannot be read from it: say it with --preprocessing tf (-1 to 1), torch "
            "(mean 0, deviation 1), caffe (BGR less its mean) or none (0 to 255)"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"), object_hook=_without_addresses)
    except (*_UNREADABLE, ValueError) as error:
        raise BottleneckError(f"{file} is not a {SUFFIX} file: {error}") from error
    side = _side(file, config)
    # only what a folder's name may have
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem)[:_STEM_LENGTH].strip("-.") or "backbone"
    # 8 digits: enough to tell apart what somebody calls by the same name
    digest = hashlib.sha256(json.dumps(config["config"], sort_keys=True).encode()).hexdigest()[:8]
    return Base(
        name=f"{stem}-{preprocessing}-{digest}",
        builder="keras.models:load_model",
        image_size=side or _IMAGE_SIZE,
        min_size=1,
        taps=(TOP,),
        preprocessing=PREPROCESSING[preprocessing],
        source="a network of your own",
        file=str(file.absolute()),
        fixed_size=side is not None,
    )


def is_backbone(name: str) -> bool:
    """Whether a recipe's base is a network of the user's own."""
    return _NAME.fullmatch(name) is not None


def find_backbone_again(name: str, file: Path) -> Base:
    """Find the network that a recipe names, in the file it is in now.

    Raises
    ------
    BottleneckError
        There is no such file, or another network is in it.
    """
    match = _NAME.fullmatch(name)
    if match is None or not file.is_file():
        raise BottleneckError(
            f"no file {file}, which should hold the network {name}; say where it is now with --weights"
        )
    found = find_backbone(file, match[1])
    if not found.name.endswith(match[2]):
        raise BottleneckError(
            f"{file} does not hold the network {name} but another one ({found.name}); say where it is now with "
            "--weights"
        )
    return dataclasses.replace(found, name=name)


def load_backbone(base: Base, image_size: int) -> Any:
    """Load a network of the user's own, with its weights.

    Returns
    -------
    keras.Model
        Its input is ``(n, image_size, image_size, 3)``.

    Raises
    ------
    BottleneckError
        It cannot be loaded, not without running code from the file, or has several outputs; or the
        pictures are too small.
    """
    keras = load_keras()
    try:
        model = keras.models.load_model(base.file, compile=False, safe_mode=True)
    except Exception as error:  # it raises what its parts raise
        reason = (
            "it holds code (a Lambda layer), which is never run; save the network without it"
            if "Lambda" in str(error)
            else f"Keras says: {_first_line(error)}"
        )
        raise BottleneckError(f"{base.file} cannot be loaded: {reason}") from error
    if len(model.outputs) != 1:
        raise BottleneckError(
            f"{base.file} is no base: expected one output, found {len(model.outputs)}; save a network that ends in one"
        )
    shape = (image_size, image_size, 3)
    if tuple(model.inputs[0].shape[1:]) != shape:
        flexible = model
        try:
            model = keras.models.clone_model(flexible, input_tensors=keras.Input(shape))
        except ValueError as error:  # what it was built from once, only the size can be wrong with
            raise empty_map(base, image_size) from error
        model.set_weights(flexible.get_weights())
        finalize_statistics(model)
    # a Sequential, or one that takes a list, becomes like the others
    return keras.Model(model.inputs[0], model.outputs[0])


def finalize_statistics(model: Any) -> None:
    """Let layers of normalisation, which work with a copy of their weights, take in new ones."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            finalize_statistics(layer)
        elif isinstance(layer, load_keras().layers.Normalization):
            layer.finalize_state()


def _without_addresses(described: dict[str, Any]) -> dict[str, Any]:
    # where an object lay in memory when it was saved: other for the same network the next time
    described.pop("shared_object_id", None)
    return described


def _side(file: Path, config: Any) -> int | None:
    """Read the side of the pictures a network takes from its description; None where it takes any."""
    try:
        layers = config["config"]["layers"]
        shapes = [
            tuple(layer["config"]["batch_shape"][1:])
            for layer in layers
            if layer["class_name"] == "InputLayer"
        ]
    except (KeyError, TypeError, IndexError):
        shapes = []
    sides = set(shapes[0][:2]) - {None} if len(shapes) == 1 else set()
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] != 3 or len(sides) > 1:
        found = " and ".join(map(str, shapes)) or "none that Keras describes"
        raise BottleneckError(
            f"{file} is no base: expected one input of square pictures, (height, width, 3), found {found}"
        )
    return next(iter(sides), None)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
