import os
import random
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.listing import (
    FAILED,
    OK,
    DamagedListingError,
    Listing,
    Row,
    read_listing,
    write_listing,
)
from bottleneck.errors import BottleneckError

# what file systems allow: any bytes but NUL, undecodable ones among them
NAMES = st.binary(min_size=1).filter(lambda b: b"\0" not in b).map(os.fsdecode)
ROWS = st.builds(
    Row,
    path=NAMES,
    digest=st.sampled_from(["", "ab" * 32]),
    label=st.none() | NAMES,
    split=st.sampled_from([None, "train", "val", "test"]),
    status=st.sampled_from([OK, FAILED]),
    reason=NAMES | st.just(""),
    size=st.integers(-1, 2**62),
    mtime_ns=st.integers(-1, 2**62),
)


@settings(deadline=None)
@given(rows=st.lists(ROWS, max_size=5), root=NAMES)
def test_rows_come_back_as_they_were(
    rows: list[Row], root: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("listing")
    listing = Listing(f"/{root}", tuple(rows))
    write_listing(folder, listing)
    assert read_listing(folder) == listing


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert read_listing(tmp_path) is None


def test_one_byte_changed_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    rows = tuple(Row(f"{n}.jpg", f"{n:064x}", "cat", "train", size=n) for n in range(20))
    listing = Listing(str(tmp_path), rows)
    write_listing(tmp_path, listing)
    file = tmp_path / "listing.h5"
    original = file.read_bytes()
    found = 0
    for offset in random.Random(0).sample(range(len(original)), 400):
        damaged = bytearray(original)
        damaged[offset] ^= 0x10
        file.write_bytes(damaged)
        try:
            # HDF5 leaves gaps between its parts; what lies in them means nothing
            assert read_listing(tmp_path) == listing, offset
        except BottleneckError:
            found += 1
    assert found > 50


def test_a_listing_that_is_no_hdf5_says_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "listing.h5").write_text("nonsense")
    with pytest.raises(DamagedListingError, match="bottleneck extract IMAGES --cache"):
        read_listing(tmp_path)


def test_a_newer_format_is_refused_with_advice(tmp_path: Path) -> None:
    write_listing(tmp_path, Listing(str(tmp_path), (Row("a.jpg"),)))
    with h5py.File(tmp_path / "listing.h5", "r+") as file:
        file.attrs["version"] = 9
    with pytest.raises(BottleneckError, match=r"format version 9 .* upgrade"):
        read_listing(tmp_path)


def test_it_opens_in_plain_h5py(tmp_path: Path) -> None:
    write_listing(tmp_path, Listing(str(tmp_path), (Row("größe.jpg", "ab" * 32, "Käfer", "val"),)))
    with h5py.File(tmp_path / "listing.h5") as file:
        assert file["path"][:].tobytes().decode() == "größe.jpg"
        assert file["label_values"].asstr()[file["label"][0]] == "Käfer"
        assert file["digest"][0] == b"ab" * 32


def test_a_listing_of_the_first_version_is_read_as_ever(tmp_path: Path) -> None:
    """Written here by its specification: texts one by one, and a checksum of them."""
    text = {
        "path": [b"a.jpg", os.fsencode("gr\udcf6\udcdfe.jpg")],
        "label": [b"cat", b""],
        "split": [b"val", b""],
        "status": [b"ok", b"failed"],
        "reason": [b"", b"broken"],
    }
    digests = np.array(["ab" * 32, ""], "S64")
    numbers = {"size": np.array([7, -1]), "mtime_ns": np.array([2**60, -1])}
    crc = zlib.crc32(b"/pictures")
    for column in (*map(b"\0".join, text.values()), digests, *numbers.values()):
        crc = zlib.crc32(column, crc)
    with h5py.File(tmp_path / "listing.h5", "w") as file:
        for name, column in text.items():
            file.create_dataset(name, data=column, dtype=h5py.string_dtype("utf-8"))
        for name, column in {"digest": digests, **numbers}.items():
            file[name] = column
        file.attrs.update(format="bottleneck-listing", version=1, root=b"/pictures", crc32=crc)
    rows = (
        Row("a.jpg", "ab" * 32, "cat", "val", size=7, mtime_ns=2**60),
        Row("gr\udcf6\udcdfe.jpg", status=FAILED, reason="broken"),
    )
    assert read_listing(tmp_path) == Listing("/pictures", rows)
    with h5py.File(tmp_path / "listing.h5", "r+") as file:
        file["size"][0] = 8
    with pytest.raises(DamagedListingError):
        read_listing(tmp_path)
