"""Weights of a base: where they come from, and their digest."""

import hashlib
import os
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.bases.architecture import build_architecture
from bottleneck.bases.backbone import load_backbone
from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import Base
from bottleneck.bases.imagenet import build_with_imagenet, download_from_hub
from bottleneck.bases.layer_names import count_names_from_zero
from bottleneck.bases.timm import fill_inception_v4, read_safetensors
from bottleneck.bases.weights_file import fill_from_file
from bottleneck.errors import BottleneckError

# Bytes of a file that are hashed at a time.
_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from.

    Attributes
    ----------
    kind : {"imagenet", "random", "file"}
    name : str
        ``imagenet``, ``random-SEED`` or the absolute path of the file.
    fingerprint : str
        Equal for equal sources. Computed without TensorFlow, so that a cache can find the recipes of
        these weights without loading them.
    """

    kind: str
    name: str
    fingerprint: str


def find_weights(weights: str | os.PathLike[str], seed: int = 0) -> WeightsSource:
    """Find the source of weights, without loading them.

    Parameters
    ----------
    weights : str or path
        ``imagenet``, ``random``, or a ``.weights.h5``, ``.h5`` or ``.keras`` file.
    seed : int
        Random seed for ``random``.

    Raises
    ------
    BottleneckError
        `weights` is none of these, or the file does not exist.
    """
    # the downloaded weights and the order of the tensors depend on Keras's version
    keras = f"keras-{version('keras')}"
    text = os.fspath(weights)
    if text == "imagenet":
        return WeightsSource("imagenet", "imagenet", f"imagenet-{keras}")
    if text == "random" or re.fullmatch(r"random-\d+", text):
        if text != "random":
            seed = int(text.removeprefix("random-"))
        if seed < 0:
            raise BottleneckError(f"--seed takes a whole number from 0, not {seed}")
        name = f"random-{seed}"
        return WeightsSource("random", name, f"{name}-{keras}")
    file = Path(weights)
    if not file.is_file():
        raise BottleneckError(
            f"no weights file {file}; --weights takes imagenet, random, or a .weights.h5, .h5 or .keras file"
        )
    # .int8 is a quantised graph instead of weights; the callers that accept it check for it
    if file.suffix not in {".h5", ".keras", ".int8"}:
        raise BottleneckError(
            f"{file.name} is no weights file we read; --weights takes .weights.h5, legacy .h5 or .keras"
        )
    digest = hashlib.sha256()
    with file.open("rb") as blocks:
        while block := blocks.read(_HASH_BLOCK):
            digest.update(block)
    return WeightsSource("file", str(file.absolute()), f"sha256:{digest.hexdigest()}")


def build_with_weights(base: Base, source: WeightsSource, image_size: int) -> Any:
    """Build a base without its classifier and load its weights.

    Returns
    -------
    keras.Model
        Its input is preprocessed pixels, ``(n, image_size, image_size, 3)``.

    Raises
    ------
    BottleneckError
        The weights are missing or belong to another architecture, or the images are too small.
    """
    if base.file is not None:
        return load_backbone(base, image_size)
    shape = (image_size, image_size, 3)
    if source.kind == "imagenet" and base.hub is None:
        model = build_with_imagenet(base, shape)
    else:
        # downloaded first, because building the network takes a while
        public = (
            download_from_hub(base, base.hub) if source.kind == "imagenet" and base.hub else None
        )
        model = build_architecture(base, shape)
        if public is not None:
            fill_inception_v4(model, read_safetensors(public), public)
        elif source.kind == "random":
            _fill_randomly(model, int(source.name.removeprefix("random-")))
        else:
            fill_from_file(model, base, Path(source.name))
    count_names_from_zero(model)
    return model


def tensor_digest(model: Any) -> str:
    """Return the SHA-256 digest of a model's tensors, whatever file they came from.

    Returns
    -------
    str
        64 hexadecimal digits, over shape, dtype and little-endian bytes of each tensor in the order
        of ``model.weights``.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        values = _numpy(variable)
        # the width of integers depends on Keras's backend
        kind = np.dtype(np.int64) if values.dtype.kind in "iu" else values.dtype
        values = values.astype(kind.newbyteorder("<"), copy=False)
        digest.update(f"{values.shape}{values.dtype.name}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _numpy(variable: Any) -> np.ndarray[Any, Any]:
    return np.asarray(load_keras().ops.convert_to_numpy(variable.value))


def _fill_randomly(model: Any, seed: int) -> None:
    # He et al. 2015. NumPy's generator gives the same weights with every backend and version of Keras, and
    # leaves global seeds alone. Biases and normalisation keep their neutral initial values.
    rng = np.random.Generator(np.random.PCG64(seed))
    for variable in model.weights:
        if len(variable.shape) >= 2:
            # a depthwise kernel, height × width × channels × 1, sees one channel at a time
            seen = variable.shape[:2] if variable.shape[-1] == 1 else variable.shape[:-1]
            spread = np.sqrt(2 / np.prod(seen))
            values = rng.standard_normal(tuple(variable.shape), dtype=np.float32)
            variable.assign(values * np.float32(spread))
