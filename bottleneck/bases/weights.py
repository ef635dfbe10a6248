"""A base's parameters: where they come from, their digest, and what is wrong with them."""

import contextlib
import hashlib
import itertools
import os
import random
import re
import socket
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from bottleneck.bases.backbone import finalize_statistics, load_backbone
from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import Base, empty_map
from bottleneck.bases.timm import fill_inception_v4, read_safetensors
from bottleneck.errors import BottleneckError

# Seconds to wait for the server of the ImageNet weights to answer; Keras itself would wait for ever.
_DOWNLOAD_TIMEOUT = 20

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
        Equal for equal sources. It costs no TensorFlow, so that a cache can tell which of its
        recipes these weights belong to without loading them.
    """

    kind: str
    name: str
    fingerprint: str


def find_weights(weights: str | os.PathLike[str], seed: int = 0) -> WeightsSource:
    """Tell which weights are meant, without loading them.

    Parameters
    ----------
    weights : str or path
        ``imagenet``, ``random``, or a ``.weights.h5``, ``.h5`` or ``.keras`` file.
    seed : int
        For ``random``.

    Raises
    ------
    BottleneckError
        Not one of these, or no such file.
    """
    # what Keras downloads, and the order of a base's tensors, are for its version to say
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
    # the last is no weights but the graph that was made of them; who takes it knows
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
    """Build the base without its classifier and fill in its weights.

    Returns
    -------
    keras.Model
        Its input is ``(n, image_size, image_size, 3)``, already preprocessed.

    Raises
    ------
    BottleneckError
        The weights cannot be had, or belong to another architecture; or the pictures are too small.
    """
    if base.file is not None:
        return load_backbone(base, image_size)
    shape = (image_size, image_size, 3)
    builder = _builder(base)
    if source.kind == "imagenet" and base.hub is None:
        model = _with_imagenet(base, builder, shape)
    else:
        # looked for before the network is built, which takes a while
        public = _from_hub(base, base.hub) if source.kind == "imagenet" and base.hub else None
        model = _build_empty(base, builder, shape)
        if public is not None:
            fill_inception_v4(model, read_safetensors(public), public)
        elif source.kind == "random":
            _fill_randomly(model, int(source.name.removeprefix("random-")))
        else:
            _fill_from_file(model, base, Path(source.name))
    _count_names_from_zero(model)
    return model


def _build_empty(base: Base, builder: Any, shape: tuple[int, int, int]) -> Any:
    drawn = random.getstate()
    try:
        model = builder(weights=None, include_top=False, input_shape=shape, **base.options)
        if base.normalised_scale is not None:
            model = _scale_normalised(model, list(base.normalised_scale))
    except ValueError as error:
        if "backend" in str(error):
            raise BottleneckError(f"{base.name} cannot be built: {_one_line(error)}") from error
        # without weights, the size is all else that can be wrong
        raise empty_map(base, shape[0]) from error
    finally:
        random.setstate(drawn)  # Keras took from it for initial values that are overwritten now
    return model


def _count_names_from_zero(model: Any) -> None:
    """Name layers as they are in the first network a process builds.

    Keras numbers layers without a name through the life of the process, and a tap is named by its layer.
    """
    numbered = [
        (operation, kind, int(number or 0))
        for operation in model.operations
        for kind, number in re.findall(r"^(.+?)(?:_(\d+))?$", operation.name)
        if kind == _snake_case(type(operation).__name__)
    ]
    first: dict[str, int] = {}
    for _, kind, number in numbered:
        first[kind] = min(number, first.get(kind, number))
    for operation, kind, number in numbered:
        count = number - first[kind]
        operation.name = f"{kind}_{count}" if count else kind


def _scale_normalised(model: Any, scale: list[float]) -> Any:
    keras = load_keras()

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        tensor = layer(*args, **options)
        if isinstance(layer, keras.layers.Normalization):
            tensor = keras.layers.Rescaling(scale)(tensor)
        return tensor

    return keras.models.clone_model(model, call_function=call)


def tensor_digest(model: Any) -> str:
    """SHA-256 over the tensors of a model, whatever file they came from.

    Returns
    -------
    str
        64 hexadecimal digits, over shape, dtype and little-endian bytes of each tensor in the order
        of ``model.weights``.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        values = _numpy(variable)
        # how wide a whole number is depends on Keras's backend
        kind = np.dtype(np.int64) if values.dtype.kind in "iu" else values.dtype
        values = values.astype(kind.newbyteorder("<"), copy=False)
        digest.update(f"{values.shape}{values.dtype.name}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _numpy(variable: Any) -> np.ndarray[Any, Any]:
    return np.asarray(load_keras().ops.convert_to_numpy(variable.value))


def _builder(base: Base) -> Any:
    load_keras()  # first, so that it is quiet
    module, name = base.builder.split(":")
    return getattr(import_module(module), name)


def _from_hub(base: Base, repository: str) -> Path:
    ways_round = (
        f"Get model.safetensors of {repository} on a machine that can, convert it with: bottleneck bases convert "
        f"{base.name} model.safetensors {base.name}.weights.h5, and give that with --weights"
    )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise BottleneckError(
            f"the ImageNet weights of {base.name} are on the Hugging Face hub, and huggingface_hub is not installed: "
            f"pip install 'bottleneck-features[hub]'. Or without it: {ways_round}"
        ) from error
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # it raises what its parts raise
        raise BottleneckError(
            f"the ImageNet weights of {base.name} could not be downloaded ({_one_line(error)}). Set HF_HOME to a "
            f"folder that has them, or else: {ways_round}"
        ) from error


def _with_imagenet(base: Base, builder: Any, shape: tuple[int, int, int]) -> Any:
    given = "".join(f", {name}={value}" for name, value in base.options.items())
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        # Keras tells of the download on stdout, which is for results
        with contextlib.redirect_stdout(sys.stderr):
            return builder(weights="imagenet", include_top=False, input_shape=shape, **base.options)
    except Exception as error:  # Keras raises a bare Exception here
        if isinstance(error, ValueError):
            # a download gone wrong, or the size: if it is the size, that is raised here
            _build_empty(base, builder, shape)
        raise BottleneckError(
            f"the ImageNet weights of {base.name} could not be downloaded ({_one_line(error)}). Without a network, "
            "give a file with --weights FILE; on a machine that has one, make it with: python -c "
            f"'import keras; {base.builder.replace(':', '.')}(include_top=False{given})"
            f'.save_weights("{base.name}.weights.h5")\''
        ) from error
    finally:
        socket.setdefaulttimeout(waited)


def _fill_randomly(model: Any, seed: int) -> None:
    # He et al. 2015. From NumPy's own generator: the same weights with any backend and any version of
    # Keras, and no global seed touched. Biases and normalisation keep their neutral initial values.
    rng = np.random.Generator(np.random.PCG64(seed))
    for variable in model.weights:
        if len(variable.shape) >= 2:
            # a depthwise kernel, height × width × channels × 1, sees one channel at a time
            seen = variable.shape[:2] if variable.shape[-1] == 1 else variable.shape[:-1]
            spread = np.sqrt(2 / np.prod(seen))
            values = rng.standard_normal(tuple(variable.shape), dtype=np.float32)
            variable.assign(values * np.float32(spread))


# --- files


def _fill_from_file(model: Any, base: Base, file: Path) -> None:
    if file.suffix == ".keras":
        # Only the tensors are taken out: the model description in the archive is never run.
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(file) as archive:
                    inner = archive.extract("model.weights.h5", folder)
            # what zipfile raises on a damaged or encrypted archive, or an unknown compression
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                KeyError,
                RuntimeError,  # NotImplementedError is one
            ) as error:
                raise BottleneckError(f"{file} is not a .keras file: {_one_line(error)}") from error
            _fill_from_h5(model, base, Path(inner), file)
    else:
        _fill_from_h5(model, base, file, file)


def _fill_from_h5(model: Any, base: Base, h5: Path, named: Path) -> None:
    try:
        with h5py.File(h5, "r", locking=False) as file:
            group = file.get("model_weights", file)  # where a whole model was saved the old way
            match = _match_legacy if "layer_names" in group.attrs else _match_by_path
            pairs = list(match(model, group))
            _refuse_difference(base, named, pairs)
            for pair in pairs:
                pair.variable.assign(pair.tensor[()])
            finalize_statistics(model)
    except OSError as error:
        raise BottleneckError(f"{named} is not a readable HDF5 file: {_one_line(error)}") from error
    except (KeyError, AttributeError, TypeError, ValueError) as error:  # a layout of its own
        raise BottleneckError(
            f"{named} is no weights file of Keras: {_one_line(error)}; give another with --weights"
        ) from error


class _Pair(NamedTuple):
    """A variable of the model and the tensor of the file that belongs to it; either may be lacking."""

    name: str
    variable: Any
    tensor: Any


def _match_by_path(model: Any, file: h5py.Group) -> Iterator[_Pair]:
    """Keras 3: each tensor lies at ``layers/CLASS_COUNT/vars/INDEX``, and so again within a layer."""
    expected = dict(_paths(model))
    found: dict[str, Any] = {}
    file.visititems(
        lambda path, item: found.update(
            {path: item} if path in expected or _is_tensor(item) else {}
        )
    )
    for path in expected | found:
        yield _Pair(path, expected.get(path), found.get(path))


def _paths(model: Any) -> Iterator[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    for layer in model.layers:
        kind = _snake_case(type(layer).__name__)
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if hasattr(layer, "layers"):
            within = _paths(layer)
        else:
            within = ((f"vars/{i}", variable) for i, variable in enumerate(layer.weights))
        for path, variable in within:
            yield f"layers/{name}/{path}", variable


def _snake_case(name: str) -> str:
    """Write a class as Keras does where it names a layer after it: ``Conv2DTranspose`` is ``conv2d_transpose``."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def _match_legacy(model: Any, file: h5py.Group) -> Iterator[_Pair]:
    """Keras 1 and 2: layers and their tensors are listed in order; their names are arbitrary."""
    found = [
        file[_text(layer)][_text(tensor)]
        for layer in file.attrs["layer_names"]
        for tensor in file[_text(layer)].attrs["weight_names"]
    ]
    for variable, tensor in itertools.zip_longest(model.weights, found):
        yield _Pair(tensor.name if variable is None else variable.path, variable, tensor)


def _refuse_difference(base: Base, file: Path, pairs: list[_Pair]) -> None:
    for name, variable, tensor in pairs:
        if variable is not None and tensor is not None and tuple(variable.shape) == tensor.shape:
            continue
        if tensor is None:
            what = f"it lacks {name}, expected in shape {tuple(variable.shape)}"
        elif variable is None:
            what = f"it also holds {name} {tensor.shape}, which the base does not have"
        else:
            what = f"{name} should be {tuple(variable.shape)} and is {tensor.shape}"
        raise BottleneckError(
            f"{file.name} does not hold the weights of {base.name} without its classifier. The first tensor "
            f"that differs: {what}. Give the right file with --weights, or its own base with --base"
        )


def _is_tensor(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind == "f"


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
