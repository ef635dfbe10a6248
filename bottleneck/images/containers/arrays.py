"""Pictures as arrays of pixels: NumPy's ``.npz`` and HDF5."""

import re
import threading
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.names import split_in
from bottleneck.images.ppm import as_ppm, is_pixels

# How people call an array of labels whose pictures are called so.
_LABELS = {
    "x": ("y",),
    "images": ("labels", "label"),
    "image": ("label",),
    "data": ("labels", "target"),
}


class _Arrays:
    """Arrays of pictures by name; a member is called by its array and its place in it."""

    folders = False

    def __init__(
        self, file: File, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
    ) -> None:
        self._file = file
        self._pictures = {
            name: shape[0]
            for name, (shape, dtype) in shapes.items()
            if len(shape) > 2 and is_pixels(shape[1:], dtype)
        }
        if not self._pictures:
            there = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in shapes.items())
            raise BottleneckError(
                f"{file} has no array of pictures: expected uint8 of shape (n, height, width, 3) or, for grey ones, "
                f"(n, height, width); it has: {there or 'none'}"
            )
        self._labels = {
            name: _find_labels(name, count, len(self._pictures), shapes)
            for name, count in self._pictures.items()
        }

    def _array(self, name: str) -> Any:
        raise NotImplementedError

    def members(self) -> Sequence[Member]:
        """List the pictures, see `Container.members`."""
        return [
            Member(f"{name}/{place}", label, split_in(name))
            for name, count in self._pictures.items()
            for place, label in enumerate(self._texts(self._labels[name], count))
        ]

    def _texts(self, name: str | None, count: int) -> list[str | None]:
        if name is None:
            return [None] * count
        values: NDArray[Any] = np.asarray(self._array(name)[:]).reshape(-1)
        return [
            value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()
        ]

    def read(self, name: str) -> bytes:
        """Read a picture, see `Container.read`."""
        array, _, place = name.rpartition("/")
        if not place.isdecimal() or int(place) >= self._pictures.get(array, 0):
            raise no_such_member(name)
        try:
            return as_ppm(np.asarray(self._array(array)[int(place)]))
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadableImageError(f"damaged in {self._file.name}: {error}") from error


def _find_labels(
    pictures: str,
    count: int,
    arrays: int,
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
) -> str | None:
    """Find the array of labels that goes with one of pictures."""
    fitting = [
        name
        for name, (shape, dtype) in shapes.items()
        if shape in {(count,), (count, 1)} and dtype.kind in "iuSUO"
    ]
    words = re.split(r"([^A-Za-z]+)", pictures)
    for place, word in enumerate(words):
        for other in _LABELS.get(word.lower(), ()):
            named = "".join([*words[:place], other, *words[place + 1 :]])
            if named in fitting:
                return named
    return fitting[0] if len(fitting) == arrays == 1 else None


class Npz(_Arrays):
    """A ``.npz`` file. An array is read whole when the first of its pictures is asked for.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such file, or has no array of pictures.
    """

    def __init__(self, file: File) -> None:
        self._reading = threading.Lock()
        self._read: dict[str, NDArray[Any]] = {}
        try:
            self._content = np.load(file.open("rb"), allow_pickle=False)
            shapes = {
                name: (shape, dtype)
                for name in self._content.files
                for shape, dtype in [self._describe(name)]
                # Python objects are pickles, and to read those is to run what they say
                if not dtype.hasobject
            }
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise not_readable(file, ".npz file", error) from error
        super().__init__(file, shapes)

    def _describe(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Read the header of an array only."""
        with self._content.zip.open(f"{name}.npy") as raw:
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(raw)]
            shape, _, dtype = read(raw)
        return shape, dtype

    def _array(self, name: str) -> NDArray[Any]:
        with self._reading:
            if name not in self._read:
                self._read[name] = self._content[name]
            return self._read[name]


class Hdf5(_Arrays):
    """An HDF5 file; each picture is read when it is asked for.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such file, or has no dataset of pictures.
    """

    def __init__(self, file: File) -> None:
        try:
            # through a file of Python's: HDF5 would take a lock, or mind one of somebody else
            self._content = h5py.File(file.open("rb"), "r")
            shapes = {name: (found.shape, found.dtype) for name, found in _datasets(self._content)}
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise not_readable(file, "HDF5 file", error) from error
        super().__init__(file, shapes)

    def _array(self, name: str) -> Any:
        return self._content[name]  # h5py does one thing at a time by itself


def _datasets(group: h5py.Group) -> Iterable[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    group.visititems(
        lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None
    )
    return found
