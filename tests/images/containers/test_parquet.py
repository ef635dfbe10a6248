"""Rows of a Parquet file that cannot be read are named, and the others are taken."""

import json
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
    with pytest.raises(UnreadableImageError, match=r"row 1 of a\.parquet has no image"):
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
    with pytest.raises(BottleneckError, match=r"no column of images .*; it has: a, b"):
        read_source(tmp_path / "a.parquet")


@pytest.mark.parametrize("text", [b"root:x:0:0:root", b"\xff\xd8\xff an image"])
def test_a_path_in_a_table_never_leads_out_of_its_folder(text: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(text)
    (tmp_path / "set/pets").mkdir(parents=True)
    (tmp_path / "set/pets/1.jpg").write_bytes(b"one")
    inside = str((tmp_path / "set/pets/1.jpg").resolve())
    out = [
        *("/etc/passwd", "file:///etc/passwd", str(secret), secret.as_uri(), "../secret.jpg"),
        *(
            "pets/../../secret.jpg",
            "/proc/self/environ",
            "http://127.0.0.1:9/a.jpg",
            "pets/1.jpg\0",
        ),
    ]
    paths = [*out, "./pets/../pets/1.jpg", inside]
    images = [{"bytes": None, "path": path} for path in paths]
    for name, column in (("a", images), ("b", paths)):
        pq.write_table(pa.table({"image": column}), tmp_path / f"set/{name}.parquet")
        place = open_place(str((tmp_path / "set").resolve()))
        for row in range(len(out)):
            with pytest.raises(UnreadableImageError, match=f"row {row} .*not below") as caught:
                place.read(f"{name}.parquet/{row}")
            assert str(caught.value).isprintable()
            assert "root:x" not in str(caught.value)
        for row in (len(out), len(out) + 1):
            assert place.read(f"{name}.parquet/{row}") == b"one"


HUB = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


@pytest.mark.parametrize(
    ("labels", "named", "expected"),
    [
        ([0, -1, 1], True, ["cat", None, "dog"]),
        ([-1, -1], True, [None, None]),
        ([0, -1, 1], False, ["0", None, "1"]),
        ([-1, 1, -1], False, ["-1", "1", "-1"]),
        (["cat", "", None], False, ["cat", None, None]),
        ([b"cat", b""], False, ["cat", None]),
        ([1.0, float("nan")], False, ["1.0", None]),
    ],
)
def test_a_label_that_says_there_is_none_is_no_class(
    labels: list[object], named: bool, expected: list[str | None], tmp_path: Path
) -> None:
    table = pa.table({"image": [b"x"] * len(labels), "label": labels})
    if named:
        table = table.replace_schema_metadata({"huggingface": json.dumps(HUB)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [file.label for file in read_source(tmp_path / "a.parquet").files] == expected


def test_a_label_beyond_the_names_is_a_reason_for_its_image(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 3, "label": [0, 2, -2]})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(HUB)}), tmp_path / "a.parquet"
    )
    files = read_source(tmp_path / "a.parquet").files
    assert files[0].label == "cat"
    assert [file.problem for file in files] == [
        None,
        "its label is 2, and the file has names for 2 classes",
        "its label is -2, and the file has names for 2 classes",
    ]


@pytest.mark.parametrize("label", [[1, 2], {"class": 1}, [["a"]]], ids=str)
def test_labels_that_are_lists_or_tables_are_refused(label: object, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "label": [label]}), tmp_path / "a.parquet")
    with pytest.raises(BottleneckError, match=r"column 'label' has the type .*expected text or"):
        read_source(tmp_path / "a.parquet")


def test_deeply_nested_metadata_ends_nothing(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"], "label": [1]})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": "[" * 100_000}), tmp_path / "a.parquet"
    )
    assert [file.label for file in read_source(tmp_path / "a.parquet").files] == ["1"]


def test_a_small_group_of_rows_that_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [bytes([n]) * 50_000 for n in range(8)]
    pq.write_table(
        pa.table({"image": rows}), tmp_path / "a.parquet", compression="zstd", row_group_size=4
    )
    place = open_place(str(tmp_path))
    assert place.read("a.parquet/5") == rows[5]
    monkeypatch.setenv("BOTTLENECK_MAX_BYTES", "100000")
    with pytest.raises(UnreadableImageError, match=r"rows 0 to 3 .*would unpack to .*MAX_BYTES"):
        place.read("a.parquet/0")
