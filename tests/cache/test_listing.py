import os
import random
from pathlib import Path

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.listing import DamagedListingError, Listing, read_listing, write_listing
from bottleneck.cache.rows import FAILED, OK, Row
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


def test_one_byte_changed_anywhere_is_found(tmp_path: Path) -> None:
    rows = tuple(Row(f"{n}.jpg", f"{n:064x}", "cat", "train", size=n) for n in range(20))
    listing = Listing(str(tmp_path), rows)
    write_listing(tmp_path, listing)
    file = tmp_path / "listing.h5"
    original = file.read_bytes()
    for offset in random.Random(0).sample(range(len(original)), 400):
        damaged = bytearray(original)
        damaged[offset] ^= 0x10
        file.write_bytes(damaged)
        with pytest.raises(DamagedListingError, match="is damaged"):
            read_listing(tmp_path)


def test_a_listing_that_is_no_hdf5_says_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "listing.h5").write_text("nonsense")
    with pytest.raises(DamagedListingError, match="bottleneck extract IMAGES --cache"):
        read_listing(tmp_path)


def test_a_newer_format_is_refused_with_advice(tmp_path: Path) -> None:
    write_listing(tmp_path, Listing(str(tmp_path), (Row("a.jpg"),)))
    file = tmp_path / "listing.h5"
    file.write_bytes(file.read_bytes().replace(b"bottleneck-listing 3", b"bottleneck-listing 9", 1))
    with pytest.raises(BottleneckError, match=r"format version 9 .* upgrade"):
        read_listing(tmp_path)


def test_it_opens_in_plain_h5py(tmp_path: Path) -> None:
    write_listing(tmp_path, Listing(str(tmp_path), (Row("größe.jpg", "ab" * 32, "Käfer", "val"),)))
    with h5py.File(tmp_path / "listing.h5") as file:
        assert file["path"][:].tobytes().decode() == "größe.jpg"
        assert file["label_values"].asstr()[file["label"][0]] == "Käfer"
        assert file["digest"][0] == b"ab" * 32


def test_a_listing_of_an_earlier_format_is_read_again_by_extract(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "listing.h5", "w") as file:
        file.attrs.update(format="bottleneck-listing", version=1, root=b"/pictures")
    with pytest.raises(DamagedListingError, match=r"earlier format .*`bottleneck extract IMAGES"):
        read_listing(tmp_path)
