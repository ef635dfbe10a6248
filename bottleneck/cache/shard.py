"""One sealed, never-changed HDF5 file of feature rows.

Its name ends in the CRC-32 of its bytes, all of them: structure, digests and features alike. So no
byte of it can change unnoticed, and reading it through costs less than reading it from the disk.
"""

import hashlib
import io
import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from bottleneck.cache.atomic import open_regular, write_atomically
from bottleneck.cache.digests import Digests
from bottleneck.cache.hdf5 import open_dataset
from bottleneck.cache.location import name_of
from bottleneck.cache.recipe import DTYPES, Recipe, refuse_newer
from bottleneck.cache.schema import SchemaError, build, read_json
from bottleneck.errors import BottleneckError, one_line

FORMAT = "bottleneck-shard"
VERSION = 1

# Bytes of features after which a shard is sealed. Large enough to be read at the speed of the disk
# and to keep the number of files small; small enough to be held in memory three times over while it
# fills and is sealed.
SHARD_BYTES = 16 * 2**20

# Pages are mapped all at once where the system can: one by one takes as long as to compare them.
_MAPPED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)

_NAME = re.compile(r"shard-[0-9a-f]{12}-(?P<crc>[0-9a-f]{8})\.h5")


class DamagedShardError(BottleneckError):
    """A shard's bytes are not those that were sealed."""


class Stored(NamedTuple):
    """Where in a shard its features lie; nothing is open."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def map(self) -> NDArray[Any]:
        """Map them from the file: rows are read when they are looked at."""
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape)


@dataclass(frozen=True)
class Shard:
    """What a shard holds, every byte of which was checked.

    Attributes
    ----------
    path : Path
    recipe : Recipe
    digests : Digests
        SHA-256 of the image each row belongs to.
    views : ndarray of uint16, shape (n,)
    stored : Stored
    """

    path: Path
    recipe: Recipe
    digests: Digests
    views: NDArray[np.uint16]
    stored: Stored

    @property
    def features(self) -> NDArray[Any]:
        """Features, shape (n, *feature_shape), mapped from the file."""
        return self.stored.map()


def write_shard(
    folder: Path,
    recipe: Recipe,
    digests: Sequence[str],
    views: NDArray[np.uint16],
    features: NDArray[np.float32] | NDArray[np.float16],
) -> Path:
    """Seal rows into a new file.

    The file is made in memory first: HDF5 does not survive a disk that fills up under it, a plain
    write does, and its name can be told before it exists.

    Raises
    ------
    BottleneckError
        There is no room left on the disk.
    """
    image = io.BytesIO()
    with _new_file(image) as file:
        file.attrs.update(format=FORMAT, version=VERSION, recipe=recipe.to_json())
        file["digests"] = np.array(digests, dtype="S64")
        file["views"] = views
        file["features"] = features  # contiguous and uncompressed: readers map it
    path = (
        folder / f"shard-{shard_keys(digests, views)}-{isal_zlib.crc32(image.getbuffer()):08x}.h5"
    )
    write_atomically(path, image.getbuffer())
    return path


def _new_file(image: io.BytesIO) -> h5py.File:
    """Open a new HDF5 file that will not say when it was made: the same rows are the same bytes."""
    created = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    created.set_obj_track_times(False)  # of the root group, which `h5py.File` has no option for
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_LATEST)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, image)
    return h5py.File(h5py.h5f.create(b"shard", h5py.h5f.ACC_EXCL, created, access))


def shard_keys(digests: Sequence[str], views: NDArray[np.uint16]) -> str:
    """Tell the part of a shard's name that stands for its digests and views."""
    keys = hashlib.sha256("".join(digests).encode() + views.tobytes()).hexdigest()
    return keys[:12]


def check_shard(path: Path, name: str | None = None) -> None:
    """Compare every byte of a shard with what was sealed; by its own name, or the one it is to have.

    Raises
    ------
    DamagedShardError
        Something differs, or the file cannot be read.
    """
    named = _NAME.fullmatch(name or path.name)
    if named is None:
        raise DamagedShardError(f"{path} does not bear the name of a shard")
    try:
        with (
            open_regular(path) as file,
            mmap.mmap(file.fileno(), 0, _MAPPED, prot=mmap.PROT_READ) as content,
        ):
            crc = isal_zlib.crc32(content)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise DamagedShardError(f"shard {path} cannot be read: {error}") from error
    if f"{crc:08x}" != named["crc"]:
        raise DamagedShardError(
            f"shard {path} is damaged: its CRC-32 is {crc:08x} and was {named['crc']} when it was sealed. "
            f"`bottleneck cache repair {name_of(path.parents[2])}` computes again what it held"
        )


def read_shard(path: Path) -> Shard:
    """Read what a shard holds, without locks, after checking its bytes.

    Raises
    ------
    DamagedShardError
        The file is not what was sealed.
    BottleneckError
        The file is of a newer format.
    """
    check_shard(path)
    try:
        # through a file of Python's: HDF5 would take a lock, or mind one of somebody else
        with open_regular(path) as raw, h5py.File(raw, "r") as file:
            return _read_content(path, file, path.stat().st_size)
    except DamagedShardError:
        raise
    except SchemaError as error:
        raise _invalid(path, error) from error
    except BottleneckError:  # of a newer format
        raise
    except Exception as error:  # h5py raises what it likes on foreign files
        raise _invalid(path, error) from error


def _read_content(path: Path, file: h5py.File, size: int) -> Shard:
    """Read a shard whose bytes are those that its name promises, and check that they make a shard."""
    refuse_newer(path, int(file.attrs["version"]), VERSION)
    recipe = build(Recipe, read_json(file.attrs["recipe"]))
    features = open_dataset(file, "features", DTYPES, size)
    if features.ndim < 2:
        raise SchemaError(f"features: expected two axes or more, found shape {features.shape}")
    digests = open_dataset(file, "digests", ("S64",), size, len(features))
    views = open_dataset(file, "views", ("uint16",), size, len(features))
    if digests.ndim != 1 or views.ndim != 1:
        raise SchemaError("digests and views: expected one axis")
    return Shard(
        path,
        recipe,
        Digests.from_ascii(digests[:]),
        views[:],
        Stored(path, features.dtype, features.shape, features.id.get_offset()),
    )


def _invalid(path: Path, error: Exception) -> DamagedShardError:
    return DamagedShardError(
        f"shard {path} is not as bottleneck writes shards: {one_line(error)}. "
        f"`bottleneck cache repair {name_of(path.parents[2])}` computes again what it held"
    )


def shard_paths(folder: Path) -> list[Path]:
    """The sealed shards in a recipe's folder, in a fixed order."""
    return sorted(folder.glob("shard-*.h5"))
