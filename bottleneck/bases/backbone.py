"""Custom bases: the user's own networks from ``.keras`` files."""

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

# Default for networks that take images of any size: the size most networks are trained on.
_IMAGE_SIZE = 224

# Characters of the file's name that go into the name of the base, which is part of a folder's name.
_STEM_LENGTH = 40

# Exceptions for a damaged or encrypted archive, or an unknown compression.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, OSError)

_NAME = re.compile(rf".+-({'|'.join(get_args(PreprocessingName))})-([0-9a-f]{{8}})")


def find_backbone(file: Path, preprocessing: str | None) -> Base:
    """Make a base from a ``.keras`` file, without importing Keras.

    Parameters
    ----------
    file : path
    preprocessing : {"tf", "caffe", "torch", "none"}
        Preprocessing that the network expects, which its file does not contain.

    Raises
    ------
    BottleneckError
        The file is missing or damaged, the network does not take images, or `preprocessing` is missing.
    """
    if not file.is_file():
        raise BottleneckError(
            f"no file {file}; --base takes the name of a base (see: bottleneck bases list) or a {SUFFIX} file"
        )
    if preprocessing is None or preprocessing not in PREPROCESSING:
        raise BottleneckError(
            f"{file} does not contain the preprocessing it expects: give it with --preprocessing tf (-1 to 1), torch "
            "(mean 0, deviation 1), caffe (BGR minus its mean) or none (0 to 255)"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"), object_hook=_without_addresses)
    except (*_UNREADABLE, ValueError) as error:
        raise BottleneckError(f"{file} is not a {SUFFIX} file: {error}") from error
    side = _side(file, config)
    # only characters that are safe in a folder's name
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem)[:_STEM_LENGTH].strip("-.") or "backbone"
    # 8 digits are enough to tell a user's networks of one name apart
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
    """Whether a recipe's base is a custom base."""
    return _NAME.fullmatch(name) is not None


def find_backbone_again(name: str, file: Path) -> Base:
    """Find the network that a recipe names in the file where it is now.

    Raises
    ------
    BottleneckError
        The file is missing, or it holds another network.
    """
    match = _NAME.fullmatch(name)
    if match is None or not file.is_file():
        raise BottleneckError(
            f"no file {file}, which should hold the network {name}; give its location with --weights"
        )
    found = find_backbone(file, match[1])
    if not found.name.endswith(match[2]):
        raise BottleneckError(
            f"{file} does not hold the network {name} but another one ({found.name}); give its location with "
            "--weights"
        )
    return dataclasses.replace(found, name=name)


def load_backbone(base: Base, image_size: int) -> Any:
    """Load a custom base with its weights.

    Returns
    -------
    keras.Model
        Its input is ``(n, image_size, image_size, 3)``.

    Raises
    ------
    BottleneckError
        The file cannot be loaded, or only by running code from it; the network has several outputs; or the
        images are too small.
    """
    keras = load_keras()
    try:
        model = keras.models.load_model(base.file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds of exceptions here
        reason = (
            "it contains code (a Lambda layer), which is never run; save the network without it"
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
        except ValueError as error:  # it was built before, so only the size can be wrong
            raise empty_map(base, image_size) from error
        model.set_weights(flexible.get_weights())
        finalize_statistics(model)
    # make a Sequential, or a model that takes a list, a plain functional model
    return keras.Model(model.inputs[0], model.outputs[0])


def finalize_statistics(model: Any) -> None:
    """Update Normalization layers, which compute with a copy of their weights, after new weights are set."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            finalize_statistics(layer)
        elif isinstance(layer, load_keras().layers.Normalization):
            layer.finalize_state()


def _without_addresses(described: dict[str, Any]) -> dict[str, Any]:
    # the memory address of an object when it was saved, which changes from one save to the next
    described.pop("shared_object_id", None)
    return described


def _side(file: Path, config: Any) -> int | None:
    """Read the image size from a network's description; None if it takes any size."""
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
            f"{file} is no base: expected one input of square images, (height, width, 3), found {found}"
        )
    return next(iter(sides), None)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
