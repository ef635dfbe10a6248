"""Rows of a Parquet file that cannot be read are named, and the others are taken."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source


def test_a_row_without_a_picture_is_a_reason_for_it_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"one", None, b"three"]}), tmp_path / "a.parquet")
    images = read_source(tmp_path / "a.parquet")
    place = open_place(images.root)
    assert [file.path for file in images.files] == ["a.parquet/0", "a.parquet/1", "a.parquet/2"]
    assert (place.read("a.parquet/0"), place.read("a.parquet/2")) == (b"one", b"three")
    with pytest.raises(UnreadableImageError, match=r"row 1 of a\.parquet has no picture"):
        place.read("a.parquet/1")


def test_a_damaged_group_of_rows_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    rows = [bytes([n]) * 5000 for n in range(4)]
    file = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": rows}), file, row_group_size=2, compression="zstd", use_dictionary=False
    )
    start = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[start : start + 12] = bytes(12)
    file.write_bytes(content)
    place = open_place(str(tmp_path))
    assert [place.read(f"a.parquet/{n}") for n in (0, 1)] == rows[:2]
    for n in (2, 3):
        with pytest.raises(UnreadableImageError, match=r"rows 2 to 3 of a\.parquet are damaged"):
            place.read(f"a.parquet/{n}")


def test_paths_in_a_table_start_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/1.jpg").write_bytes(b"bytes")
    table = pa.table(
        {"image": ["pets/1.jpg", "pets/2.jpg"], "label": ["cat", ""], "split": ["dev", None]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second = read_source(tmp_path / "a.parquet").files
    assert (first.label, first.split, second.label, second.split) == ("cat", "val", None, None)
    place = open_place(str(tmp_path))
    assert place.read(first.path) == b"bytes"
    with pytest.raises(UnreadableImageError, match="moved or deleted"):
        place.read(second.path)


def test_a_table_without_pictures_says_what_columns_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "a.parquet")
    with pytest.raises(BottleneckError, match=r"no column of pictures .*; it has: a, b"):
        read_source(tmp_path / "a.parquet")
