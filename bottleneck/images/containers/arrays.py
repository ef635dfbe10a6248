"""Images as arrays of pixels, and NumPy's ``.npz``."""

import io
import re
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import File, Member, no_such_member, not_readable
from bottleneck.images.containers.members import label_text, too_many_images
from bottleneck.images.containers.zip import exceeds_packed, open_zip, read_member
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import find_size_problem
from bottleneck.images.names import split_in
from bottleneck.images.ppm import as_ppm, is_pixels
from bottleneck.images.reasons import describe

# Usual names of the array of labels, by the name of the array of images.
_LABELS = {
    "x": ("y",),
    "images": ("labels", "label"),
    "image": ("label", "labels"),
    "data": ("labels", "label", "target"),
    "arr_0": ("arr_1",),
}

# Kinds of NumPy's types that labels may have: whole numbers and text.
_LABEL_KINDS = "biuSU"

# What a damaged file makes NumPy, zipfile and h5py raise.
FAULTS = (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)

# Of an array: its sides and its type.
Shape = tuple[tuple[int, ...], np.dtype[Any]]


class Arrays:
    """Arrays of images by name. A member's name is that of its array and its place in it.

    Parameters
    ----------
    file : Path or RemoteFile
    shapes : mapping of str to shape and type
    refused : mapping of str to str
        Arrays that must not be read, and why.
    """

    folders = False

    def __init__(
        self, file: File, shapes: Mapping[str, Shape], refused: Mapping[str, str] | None = None
    ) -> None:
        self._file = file
        self._refused = dict(refused or {})
        self._images = {
            name: shape[0]
            for name, (shape, dtype) in shapes.items()
            if len(shape) > 2 and is_pixels(shape[1:], dtype) and name not in self._refused
        }
        if not self._images and self._refused:
            name, problem = next(iter(self._refused.items()))
            raise BottleneckError(
                f"{file} has no array of images that may be read: {name} {problem}"
            )
        if not self._images:
            there = ", ".join(f"{name} {dtype} {shape}" for name, (shape, dtype) in shapes.items())
            raise BottleneckError(
                f"{file} has no array of images: expected uint8 of shape (n, height, width, 3) or, for grey ones, "
                f"(n, height, width); it has: {there or 'none'}"
            )
        self._labels = {
            name: _find_labels(file, name, len(self._images), shapes, self._refused)
            for name in self._images
        }

    def _array(self, name: str) -> Any:
        raise NotImplementedError

    def members(self) -> Sequence[Member]:
        """List the images, see `Container.members`."""
        return [
            Member(f"{name}/{place}", label, split_in(name))
            for name, count in self._images.items()
            for place, label in enumerate(self._texts(self._labels[name], count))
        ] + [Member(name, problem=problem) for name, problem in self._refused.items()]

    def _texts(self, name: str | None, count: int) -> list[str | None]:
        if name is None:
            return [None] * count
        try:
            values: NDArray[Any] = np.asarray(self._array(name)[:]).reshape(-1)
            return [label_text(value) for value in values.tolist()]
        except FAULTS as error:
            raise not_readable(self._file, f"file: labels in {name}", error) from error

    def read(self, name: str) -> bytes:
        """Read an image, see `Container.read`."""
        array, _, place = name.rpartition("/")
        if not place.isdecimal() or int(place) >= self._images.get(array, 0):
            raise no_such_member(name)
        try:
            return as_ppm(np.asarray(self._array(array)[int(place)]))
        except FAULTS as error:
            raise UnreadableImageError(
                f"damaged in {self._file.name}: {describe(error)}"
            ) from error


def _find_labels(
    file: File,
    images: str,
    arrays: int,
    shapes: Mapping[str, Shape],
    refused: Mapping[str, str],
) -> str | None:
    """Find the array of labels that belongs to an array of images; refuse one that does not fit it."""
    count = shapes[images][0][0]
    named = _named_labels(images, shapes)
    if named is None:
        others = [name for name in shapes if _labels_fit(count, shapes[name])]
        named = others[0] if len(others) == arrays == 1 else None
    if named is None and arrays == 1:
        # labels of another name are those of the only array of images
        usual = {word for words in _LABELS.values() for word in words}
        named = next((name for name in shapes if name.lower() in usual), None)
    if named is not None and named in refused:
        raise BottleneckError(
            f"{file}: the labels of {images} may not be read: {named} {refused[named]}"
        )
    if named is not None and not _labels_fit(count, shapes[named]):
        shape, dtype = shapes[named]
        raise BottleneckError(
            f"{file}: {named} does not label {images}: expected {count} whole numbers or texts, one for each image, "
            f"found {'Python objects' if dtype.hasobject else dtype} of shape {shape}; rename or correct it (from "
            "one-hot labels: y.argmax(axis=1))"
        )
    return named


def _named_labels(images: str, shapes: Mapping[str, Shape]) -> str | None:
    by_lower = {name.lower(): name for name in shapes}
    words = [images.lower()] if images.lower() in _LABELS else re.split(r"([^A-Za-z]+)", images)
    for place, word in enumerate(words):
        for other in _LABELS.get(word.lower(), ()):
            name = "".join([*words[:place], other, *words[place + 1 :]])
            found = name if name in shapes else by_lower.get(name.lower())
            if found is not None and found != images:
                return found
    return None


def _labels_fit(count: int, labels: Shape) -> bool:
    shape, dtype = labels
    is_text = h5py.check_string_dtype(dtype) is not None
    return shape in {(count,), (count, 1)} and (dtype.kind in _LABEL_KINDS or is_text)


class Npz(Arrays):
    """A ``.npz`` file. An array is read whole when the first of its images is read, and kept.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such file, or has no array of images.
    """

    def __init__(self, file: File) -> None:
        self._reading = threading.Lock()
        self._read: dict[str, NDArray[Any]] = {}
        try:
            self._content = open_zip(file, ".npz file")
            self._members = {
                each.filename.removesuffix(".npy"): each
                for each in self._content.infolist()
                if each.filename.endswith(".npy")
            }
            shapes = {name: self._describe(name) for name in self._members}
        except FAULTS as error:
            raise not_readable(file, ".npz file", error) from error
        super().__init__(file, shapes)
        used = {*self._images, *filter(None, self._labels.values())}
        total = sum(self._members[name].file_size for name in used)
        if problem := find_size_problem(total):
            raise BottleneckError(f"{file} {problem}; or save it as HDF5, which is read by image")

    def _describe(self, name: str) -> Shape:
        """Read the header of an array only."""
        entry = self._members[name]
        with self._content.open(entry) as raw:
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(raw)]
            shape, _, dtype = read(raw)
            # Python objects are pickles, and reading those runs code
            if not dtype.hasobject:
                claimed = raw.tell() + _bytes_of(shape, dtype)
                if (
                    min(shape, default=0) < 0
                    or exceeds_packed(entry)
                    or claimed != entry.file_size
                    or too_many_images(shape[0] if shape else 0, entry.file_size)
                ):
                    raise ValueError(
                        f"{name} claims to be {dtype} of shape {shape}, which its {entry.file_size:,} bytes "
                        f"({entry.compress_size:,} packed) cannot hold"
                    )
        return shape, dtype

    def _array(self, name: str) -> NDArray[Any]:
        with self._reading:
            if name not in self._read:
                self._read[name] = _read_npy(read_member(self._content, self._members[name]))
            return self._read[name]


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    total = dtype.itemsize
    for side in shape:
        total *= side  # Python's numbers do not overflow
    return total


def _read_npy(content: bytes) -> NDArray[Any]:
    return np.asarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
