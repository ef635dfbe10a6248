import os
import random
import zlib
from collections.abc import Callable
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


def put(name: str, shape: tuple[int, ...], dtype: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape=shape, dtype=dtype)

    return change


FORGERIES = {
    "no digests": lambda file: file.__delitem__("digest"),
    "digests of another type": put("digest", (2,), "S32"),
    "many digests": put("digest", (10**12,), "S64"),
    "many of all": lambda file: [
        put(name, (10**12,), dtype)(file)
        for name, dtype in (("digest", "S64"), ("path", "u1"), ("label", "u4"), ("size", "i8"))
    ],
    "a number for each row but one": put("size", (1,), "i8"),
    "sizes of another type": put("size", (2,), "f8"),
    "paths for other rows": lambda file: file["path"].__setitem__(slice(None), 65),
    "labels beyond their values": lambda file: file["label"].__setitem__(0, 99),
    "a status nobody knows": lambda file: file["status_values"].__setitem__(0, "odd"),
    "values that are numbers": put("label_values", (1,), "i8"),
    "no root": lambda file: file.attrs.__delitem__("root"),
    "root is a number": lambda file: file.attrs.__setitem__("root", 3),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_file_with_the_right_sum_that_is_no_listing_is_refused(tmp_path: Path, name: str) -> None:
    rows = (Row("a.jpg", "ab" * 32, "cat"), Row("b.jpg", "cd" * 32, "dog"))
    write_listing(tmp_path, Listing(str(tmp_path), rows))
    path = tmp_path / "listing.h5"
    with h5py.File(path, "r+") as file:
        FORGERIES[name](file)
    content = bytearray(path.read_bytes())
    content[21:29] = f"{zlib.crc32(content[512:]):08x}".encode()
    path.write_bytes(content)
    with pytest.raises(DamagedListingError, match="is not as bottleneck writes listings"):
        read_listing(tmp_path)


def test_a_pipe_in_place_of_a_listing_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "listing.h5")
    with pytest.raises(BottleneckError, match="not a regular file"):
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
