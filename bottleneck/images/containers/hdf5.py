"""HDF5 files with arrays of images."""

import math
from typing import Any

import h5py
import numpy as np

from bottleneck.images.containers.arrays import FAULTS, Arrays, Shape
from bottleneck.images.containers.container import File, not_readable, stamp_of
from bottleneck.images.containers.members import too_many_images
from bottleneck.images.files import find_size_problem

# No kilobyte of h5py's own filters unpacks to more kilobytes than this: it is what gzip can do.
_HIGHEST_RATIO = 1032
_OWN_FILTERS = {"gzip", "lzf", "szip", None}

_LINK: Shape = ((), np.dtype(object))


class Hdf5(Arrays):
    """An HDF5 file; each image is read when it is asked for.

    Datasets whose data are elsewhere (virtual ones, external storage, links to other files) are refused by name and
    never read: they could name any file, and the HDF5 library ends the process on some of them.

    Parameters
    ----------
    file : Path or RemoteFile

    Raises
    ------
    BottleneckError
        It is no such file, or has no dataset of images.
    """

    def __init__(self, file: File) -> None:
        shapes: dict[str, Shape] = {}
        refused: dict[str, str] = {}
        try:
            # through a file of Python's: HDF5 would take a lock, or wait for one that another program has
            self._content = h5py.File(file.open("rb"), "r")
            size = stamp_of(file)[0]
            for name, found in _list_items(self._content).items():
                if isinstance(found, h5py.ExternalLink):
                    shapes[name] = _LINK
                    refused[name] = "is a link to another file; copy the data into this one"
                    continue
                problem = _find_source_problem(found)
                # of a virtual dataset even the shape is read from other files
                shapes[name] = ((), found.dtype) if problem else (found.shape or (), found.dtype)
                problem = problem or _find_size_problem(found, size)
                if problem and found.dtype.kind in "biuSUO":
                    refused[name] = problem
        except FAULTS as error:
            raise not_readable(file, "HDF5 file", error) from error
        super().__init__(file, shapes, refused)

    def _array(self, name: str) -> Any:
        return self._content[name]  # h5py itself does one thing at a time


def _list_items(content: h5py.File) -> dict[str, h5py.Dataset | h5py.ExternalLink]:
    found: dict[str, h5py.Dataset | h5py.ExternalLink] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset | h5py.ExternalLink):
            found[name] = item

    content.visititems(add)  # each dataset once, and no links
    content.visititems_links(add)
    return found


def _find_source_problem(dataset: h5py.Dataset) -> str | None:
    """Say why a dataset is not in its file alone."""
    made = dataset.id.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        return "is a virtual dataset, with its data in other datasets; copy them into it"
    if made.get_external_count():
        return "has its data in other files; copy them into this one"
    return None


def _find_size_problem(dataset: h5py.Dataset, size: int) -> str | None:
    """Say why a dataset cannot be what it claims to be, in a file of so many bytes."""
    shape, item = dataset.shape or (), dataset.dtype.itemsize
    chunk = math.prod(dataset.chunks or ()) * item
    if dataset.chunks and (problem := find_size_problem(chunk, "has chunks that unpack to")):
        return problem
    total = math.prod(shape) * item
    if dataset.chunks is None:
        is_whole = dataset.id.get_storage_size() >= total
    else:
        is_whole = total <= size * _HIGHEST_RATIO or dataset.compression not in _OWN_FILTERS
    if is_whole and not too_many_images(shape[0] if shape else 0, size):
        return None
    return f"claims to be {dataset.dtype} of shape {shape}, which the {size:,} bytes of the file cannot hold"
