"""Datasets of HDF5 files of ours: plain, and within the bytes of the file."""

from typing import Any

import h5py
import numpy as np

from bottleneck.cache.schema import SchemaError


def open_dataset(
    file: h5py.File, name: str, dtypes: tuple[str, ...], size: int, rows: int | None = None
) -> Any:
    """Open a dataset after checking that it is one of ours, before any of it is read.

    Parameters
    ----------
    file : h5py.File
    name : str
        Of a member of the root group.
    dtypes : tuple of str
        Types it may have.
    size : int
        Bytes of the file: all of the dataset has to lie within.
    rows : int, optional
        Rows it has to have.

    Returns
    -------
    h5py.Dataset
        Contiguous and stored in the file itself: not virtual, external, compressed or linked from elsewhere.

    Raises
    ------
    SchemaError
        It is missing, or anything else.
    """
    if name not in file:
        raise SchemaError(f"dataset {name} is missing")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise SchemaError(f"{name} is a link; expected a dataset in the file itself")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise SchemaError(f"{name} is a {type(found).__name__.lower()}; expected a dataset")
    if found.dtype not in [np.dtype(each) for each in dtypes]:
        raise SchemaError(f"{name}: expected {' or '.join(dtypes)}, found {found.dtype}")
    if not found.shape or (rows is not None and found.shape[0] != rows):
        expected = "one row or more" if rows is None else f"{rows:,} rows"
        raise SchemaError(f"{name}: expected {expected}, found shape {found.shape}")
    created = found.id.get_create_plist()
    if (
        created.get_layout() != h5py.h5d.CONTIGUOUS
        or created.get_external_count()
        or created.get_nfilters()
    ):
        raise SchemaError(
            f"{name} is virtual, external, chunked or compressed; expected contiguous"
        )
    needed = int(np.prod(found.shape, dtype=object)) * found.dtype.itemsize
    offset = found.id.get_offset()
    if needed and (offset is None or offset + needed > size):
        raise SchemaError(f"{name}: its {needed:,} bytes are not all in the file of {size:,} bytes")
    return found
