"""Weights from a file: ``.weights.h5``, legacy ``.h5`` or ``.keras``."""

import itertools
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from bottleneck.bases.backbone import finalize_statistics
from bottleneck.bases.base import Base
from bottleneck.bases.layer_names import snake_case
from bottleneck.errors import BottleneckError, one_line


def fill_from_file(model: Any, base: Base, file: Path) -> None:
    """Fill a model of a base with the weights of a file.

    Raises
    ------
    BottleneckError
        The file is damaged, or it holds other tensors than the model.
    """
    if file.suffix == ".keras":
        # Only the tensors are read; the model description in the archive is never executed.
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(file) as archive:
                    inner = archive.extract("model.weights.h5", folder)
            # exceptions of zipfile for a damaged or encrypted archive, or an unknown compression
            except (
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                KeyError,
                RuntimeError,  # NotImplementedError is one
            ) as error:
                raise BottleneckError(f"{file} is not a .keras file: {one_line(error)}") from error
            _fill_from_h5(model, base, Path(inner), file)
    else:
        _fill_from_h5(model, base, file, file)


def _fill_from_h5(model: Any, base: Base, h5: Path, named: Path) -> None:
    try:
        with h5py.File(h5, "r", locking=False) as file:
            group = file.get("model_weights", file)  # a whole model in the legacy format
            match = _match_legacy if "layer_names" in group.attrs else _match_by_path
            pairs = list(match(model, group))
            _refuse_difference(base, named, pairs)
            for pair in pairs:
                pair.variable.assign(pair.tensor[()])
            finalize_statistics(model)
    except OSError as error:
        raise BottleneckError(f"{named} is not a readable HDF5 file: {one_line(error)}") from error
    except (KeyError, AttributeError, TypeError, ValueError) as error:  # an unknown layout
        raise BottleneckError(
            f"{named} is not a Keras weights file: {one_line(error)}; give another with --weights"
        ) from error


class _Pair(NamedTuple):
    """A variable of the model and its tensor in the file; either may be missing."""

    name: str
    variable: Any
    tensor: Any


def _match_by_path(model: Any, file: h5py.Group) -> Iterator[_Pair]:
    """Keras 3: the path of each tensor is ``layers/CLASS_COUNT/vars/INDEX``, also within a nested layer."""
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
        kind = snake_case(type(layer).__name__)
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if hasattr(layer, "layers"):
            within = _paths(layer)
        else:
            within = ((f"vars/{i}", variable) for i, variable in enumerate(layer.weights))
        for path, variable in within:
            yield f"layers/{name}/{path}", variable


def _match_legacy(model: Any, file: h5py.Group) -> Iterator[_Pair]:
    """Keras 1 and 2: layers and their tensors are listed in order, under arbitrary names."""
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
