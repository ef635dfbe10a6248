"""Batches of CIFAR-10, in the Python and the binary version.

References
----------
.. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
"""

import io
import operator
import pickle
import pickletools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.images.containers.container import (
    File,
    Member,
    no_such_member,
    not_readable,
    stamp_of,
)
from bottleneck.images.files import find_size_problem
from bottleneck.images.ppm import as_ppm

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE

# All that the original files use. A pickle may name any function, and must not run it.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class Cifar:
    """One batch of CIFAR-10: red, green and blue planes of 32 × 32, and a label each.

    Labels are names where ``batches.meta`` or ``batches.meta.txt`` is beside it, and numbers otherwise.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such batch.
    """

    folders = False

    def __init__(self, file: File) -> None:
        if problem := find_size_problem(stamp_of(file)[0], "it has"):
            raise not_readable(file, "batch of CIFAR-10", problem)
        planes, labels = _read_binary(file) if file.suffix == ".bin" else _read_python(file)
        self._pixels = planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        names = _class_names(file.parent)
        self._labels = [names[label] if 0 <= label < len(names) else str(label) for label in labels]
        self._split = "test" if file.name.startswith("test") else "train"

    def members(self) -> Sequence[Member]:
        """List the images by their number, see `Container.members`."""
        return [Member(str(n), label, self._split) for n, label in enumerate(self._labels)]

    def read(self, name: str) -> bytes:
        """Read an image, see `Container.read`."""
        if not name.isdecimal() or int(name) >= len(self._pixels):
            raise no_such_member(name)
        return as_ppm(np.ascontiguousarray(self._pixels[int(name)]))


def _read_binary(file: File) -> tuple[NDArray[np.uint8], list[int]]:
    content = np.frombuffer(file.read_bytes(), np.uint8)
    if not len(content) or len(content) % (1 + _PIXELS):
        raise not_readable(
            file,
            "batch of CIFAR-10",
            f"its {len(content):,} bytes are no multiple of {1 + _PIXELS:,}",
        )
    rows = content.reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0].tolist()


def _read_python(file: File) -> tuple[NDArray[np.uint8], list[int]]:
    try:
        content = _unpickle(file)
        planes = np.asarray(content[b"data"]).reshape(-1, _PIXELS)
        labels = [operator.index(label) for label in content[b"labels"]]
    except Exception as error:  # a damaged pickle raises nearly anything
        raise not_readable(file, "batch of CIFAR-10", error) from error
    if planes.dtype != np.uint8:
        raise not_readable(file, "batch of CIFAR-10", f"its pixels are {planes.dtype}, not uint8")
    if len(labels) != len(planes):
        counted = f"{len(planes)} images and {len(labels)} labels"
        raise not_readable(file, "batch of CIFAR-10", counted)
    return planes, labels


def _class_names(folder: File) -> list[str]:
    text, pickled = folder / "batches.meta.txt", folder / "batches.meta"
    if text.is_file():
        return text.read_text("utf-8").split()
    if pickled.is_file():
        try:
            return [name.decode() for name in _unpickle(pickled)[b"label_names"]]
        except Exception as error:
            raise not_readable(pickled, "list of CIFAR-10's classes", error) from error
    return []


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is no part of CIFAR-10"
            )
        return super().find_class(module, name)


def _unpickle(file: File) -> dict[bytes, Any]:
    data = file.read_bytes()
    for operation, number, _ in pickletools.genops(data):
        # objects are remembered by number, and a table is made up to the highest: a few bytes take gigabytes
        if operation.name == "LONG_BINPUT" and int(str(number)) > len(data):
            raise pickle.UnpicklingError(f"it remembers an object as number {number}")
    content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("it is no table")
    return content
