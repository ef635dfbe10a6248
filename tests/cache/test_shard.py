import fcntl
import os
import random
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bottleneck.cache.shard import DamagedShardError, check_shard, read_shard, write_shard
from bottleneck.errors import BottleneckError
from tests.cache.test_recipe import RECIPE

DIGESTS = [f"{n:064x}" for n in range(7)]
FEATURES = np.random.default_rng(0).standard_normal((7, 5), dtype=np.float32)
VIEWS = np.zeros(7, np.uint16)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path, RECIPE, DIGESTS, VIEWS, FEATURES)


def test_the_same_rows_sealed_again_are_the_same_file(shard: Path) -> None:
    before = shard.stat().st_mtime_ns
    time.sleep(1.1)  # HDF5 counts time in seconds, where it does
    assert write_shard(shard.parent, RECIPE, DIGESTS, VIEWS, FEATURES) == shard
    assert shard.stat().st_mtime_ns > before
    assert list(shard.parent.iterdir()) == [shard]


@settings(deadline=None)
@given(
    features=npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(width=32),  # infinities and NaN are somebody's features too
    )
)
def test_rows_come_back_bit_for_bit(
    features: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digests = [f"{n:064x}" for n in range(len(features))]
    views = np.arange(len(features), dtype=np.uint16)
    path = write_shard(tmp_path_factory.mktemp("shard"), RECIPE, digests, views, features)
    shard = read_shard(path)
    assert list(shard.digests) == digests
    assert shard.recipe == RECIPE
    np.testing.assert_array_equal(shard.views, views)
    assert shard.features.tobytes() == features.tobytes()
    assert shard.features.shape == features.shape


def test_it_opens_in_plain_h5py_and_describes_itself(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert file.attrs["format"] == "bottleneck-shard"
        assert '"base": "inception_v3"' in file.attrs["recipe"]
        assert file["digests"][3].decode() == DIGESTS[3]
        np.testing.assert_array_equal(file["features"][:], FEATURES)
        # contiguous and uncompressed: what makes it fast to read
        assert file["features"].chunks is None
        assert file["features"].compression is None


def test_one_byte_changed_anywhere_is_found(shard: Path) -> None:
    original = shard.read_bytes()
    structure = range(0, len(original), 97)
    everywhere = random.Random(0).sample(range(len(original)), 60)
    for offset in {0, len(original) - 1, *structure, *everywhere}:
        damaged = bytearray(original)
        damaged[offset] ^= 1 << (offset % 8)
        shard.write_bytes(damaged)
        with pytest.raises(DamagedShardError, match=f"shard .*{shard.name} is damaged"):
            read_shard(shard)
    shard.write_bytes(original)
    np.testing.assert_array_equal(read_shard(shard).features, FEATURES)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_shard_cut_short_is_found(shard: Path, length: int) -> None:
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(DamagedShardError):
        check_shard(shard)


def test_a_shard_that_took_the_place_of_another_is_found(shard: Path, tmp_path: Path) -> None:
    other = write_shard(tmp_path, RECIPE, DIGESTS, VIEWS, FEATURES + 1)
    assert other != shard
    shutil.copy(other, shard)
    with pytest.raises(DamagedShardError):
        check_shard(shard)


def test_a_file_of_another_name_is_no_shard(shard: Path) -> None:
    renamed = shard.rename(shard.with_name("shard-mine.h5"))
    with pytest.raises(DamagedShardError, match="does not bear the name"):
        check_shard(renamed)


def test_it_is_read_while_somebody_holds_a_lock_on_it(shard: Path) -> None:
    with shard.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # what HDF5 takes to write
        with pytest.raises(OSError, match="lock"):
            h5py.File(shard, "r")
        np.testing.assert_array_equal(read_shard(shard).features, FEATURES)


def forge(shard: Path, change: Callable[[h5py.File], None]) -> Path:
    """Change what is inside a shard, and give it the name of its new bytes."""
    with h5py.File(shard, "r+") as file:
        change(file)
    crc = f"{zlib.crc32(shard.read_bytes()):08x}"
    return shard.rename(shard.with_name(f"{shard.name[:-11]}{crc}.h5"))


def put(name: str, value: object, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if isinstance(value, h5py.SoftLink | h5py.ExternalLink):
            file[name] = value
        elif isinstance(value, str):
            file.create_group(name)
        else:
            file.create_dataset(name, **({} if value is None else {"data": value}), **options)

    return change


def make_virtual(file: h5py.File) -> None:
    del file["features"]
    layout = h5py.VirtualLayout((7, 5), "f4")
    layout[:] = h5py.VirtualSource("/gone.h5", "features", (7, 5))
    file.create_virtual_dataset("features", layout)


FORGERIES = {
    "virtual": make_virtual,
    "external": put("features", None, shape=(7, 5), dtype="f4", external="/etc/passwd"),
    "never allocated": put("features", None, shape=(7, 5), dtype="f4"),
    "soft link": put("features", h5py.SoftLink("/views")),
    "external link": put("features", h5py.ExternalLink("/gone.h5", "x")),
    "group": put("features", "group"),
    "compressed": put("features", FEATURES, compression="gzip"),
    "chunked": put("features", FEATURES, chunks=(1, 5)),
    "one axis": put("features", FEATURES[:, 0]),
    "double": put("features", FEATURES.astype("f8")),
    "big-endian": put("features", FEATURES.astype(">f4")),
    "fewer rows": put("features", FEATURES[:3]),
    "no digests": lambda file: file.__delitem__("digests"),
    "wide views": put("views", VIEWS.astype("u8")),
    "many digests": put("digests", None, shape=(10**12,), dtype="S64"),
    "many of all": lambda file: [
        put(name, None, shape=(10**12, *more), dtype=dtype)(file)
        for name, more, dtype in (
            ("digests", (), "S64"),
            ("views", (), "u2"),
            ("features", (5,), "f4"),
        )
    ],
    "no recipe": lambda file: file.attrs.__delitem__("recipe"),
    "recipe is a number": lambda file: file.attrs.__setitem__("recipe", 3),
    "recipe leads out": lambda file: file.attrs.__setitem__(
        "recipe", file.attrs["recipe"].replace("mixed10", "../x")
    ),
    "version is text": lambda file: file.attrs.__setitem__("version", "one"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_file_with_the_right_sum_that_is_no_shard_is_refused(shard: Path, name: str) -> None:
    forged = forge(shard, FORGERIES[name])
    with pytest.raises(DamagedShardError, match="is not as bottleneck writes shards"):
        read_shard(forged)


def test_a_pipe_in_place_of_a_shard_is_refused_at_once(shard: Path) -> None:
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(DamagedShardError, match="not a regular file"):
        read_shard(shard)


def test_a_newer_format_is_refused_with_advice(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file.attrs["version"] = 2
    crc = f"{zlib.crc32(shard.read_bytes()):08x}"
    newer = shard.rename(shard.with_name(f"{shard.name[:-11]}{crc}.h5"))
    with pytest.raises(BottleneckError, match="format version 2"):
        read_shard(newer)
