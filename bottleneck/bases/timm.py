"""Public weights of timm (PyTorch Image Models), for bases that Keras does not include."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bottleneck.errors import BottleneckError

Tensors = Mapping[str, NDArray[Any]]

# Blocks of our Inception-v4 in the order of timm, which numbers them.
_TIMM_BLOCKS = [
    *(f"stem_{number}" for number in range(6)),
    *(f"inception_a_{number}" for number in range(1, 5)),
    "reduction_a",
    *(f"inception_b_{number}" for number in range(1, 8)),
    "reduction_b",
    *(f"inception_c_{number}" for number in range(1, 4)),
]


def read_safetensors(file: Path) -> Tensors:
    """Read all tensors of a ``.safetensors`` file.

    Raises
    ------
    BottleneckError
        The file is missing or damaged, or has a dtype that NumPy does not support.
    """
    if not file.is_file():
        raise BottleneckError(f"no weights file {file}; expected a .safetensors file")
    try:
        return load_file(file)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        raise BottleneckError(f"{file} is not a readable .safetensors file: {reason}") from error


def fill_inception_v4(model: Any, tensors: Tensors, named: Path) -> None:
    """Load timm's tensors into our Inception-v4.

    Raises
    ------
    BottleneckError
        A tensor is missing, has another shape, or is unknown.
    """
    expected = dict(_inception_v4_variables(model))
    for key, (variable, transposed) in expected.items():
        if key not in tensors:
            raise _differs(named, f"it lacks {key}")
        tensor = tensors[key].transpose(transposed)
        if tensor.shape != tuple(variable.shape):
            raise _differs(named, f"{key} has shape {tensors[key].shape}, which does not fit")
    # the batch counters of training are not needed, nor the classifier without a top
    unknown = [
        key
        for key in tensors
        if key not in expected
        and not key.endswith("num_batches_tracked")
        and not key.startswith("last_linear.")
    ]
    if unknown:
        raise _differs(named, f"it also holds {min(unknown)}")
    for key, (variable, transposed) in expected.items():
        variable.assign(tensors[key].transpose(transposed).astype(np.float32))


def _inception_v4_variables(model: Any) -> Iterator[tuple[str, tuple[Any, tuple[int, ...]]]]:
    """Yield timm's name of each of our variables, with the order of its axes there."""
    for layer in model.layers:
        if layer.name == "predictions":
            yield "last_linear.weight", (layer.kernel, (1, 0))
            yield "last_linear.bias", (layer.bias, (0,))
        elif layer.name.endswith("_conv") and layer.weights:
            # timm: out, in, height, width; Keras: height, width, in, out
            yield f"{_timm_name(layer.name[:-5])}.conv.weight", (layer.kernel, (2, 3, 1, 0))
        elif layer.name.endswith("_bn"):
            name = f"{_timm_name(layer.name[:-3])}.bn"
            yield f"{name}.weight", (layer.gamma, (0,))
            yield f"{name}.bias", (layer.beta, (0,))
            yield f"{name}.running_mean", (layer.moving_mean, (0,))
            yield f"{name}.running_var", (layer.moving_variance, (0,))


def _timm_name(ours: str) -> str:
    number, block = max(
        ((n, block) for n, block in enumerate(_TIMM_BLOCKS) if f"{ours}_".startswith(f"{block}_")),
        key=lambda found: len(found[1]),
    )
    within = ours.removeprefix(block).replace("_", ".")
    if block.startswith("inception_c"):
        # timm names the forked branches branch1_1a and so on
        within = re.sub(r"(branch[12])\.", r"\1_", within)
    return f"features.{number}{within}"


def _differs(file: Path, what: str) -> BottleneckError:
    return BottleneckError(
        f"{file.name} does not hold the weights of this base. The first tensor that differs: {what}"
    )
