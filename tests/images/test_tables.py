"""Tables as people have them: read as their owner means, or refused in one line."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.images.layout import LayoutOptions
from bottleneck.images.source import ImageSet, read_source
from tests.images.test_source import plant

steady = settings(derandomize=True, deadline=None, database=None, max_examples=100)


def read(top: Path, text: str | bytes, name: str = "list.csv", **options: object) -> ImageSet:
    content = text.encode() if isinstance(text, str) else text
    (top / name).write_bytes(content)
    return read_source(top / name, **options)


def labels(images: ImageSet) -> list[tuple[str, str | None]]:
    return [(file.path, file.label) for file in images.files]


def refusal(top: Path, text: str | bytes, **options: object) -> str:
    with pytest.raises(BottleneckError) as caught:
        read(top, text, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return plant(tmp_path, "a.jpg", "b.jpg")


TWO = [("a.jpg", "cat"), ("b.jpg", "dog")]


# --- columns


@pytest.mark.parametrize(
    "header",
    [
        "path, label",
        "path,Label",
        " Path ,LABEL ",
        "path,class",
        "path,Class Name",
        "path,breed",
        "filename,class",
        "Image_ID,species",
    ],
)
def test_columns_are_found_by_their_usual_names_without_case_and_spaces(
    two: Path, header: str
) -> None:
    assert labels(read(two, f"{header}\na.jpg,cat\nb.jpg,dog\n")) == TWO


def test_columns_that_were_not_named_are_reported(two: Path) -> None:
    notes = read(two, "photo,category\na.jpg,cat\nb.jpg,dog\n").notes
    assert notes == ("Column of paths: 'photo'", "Column of labels: 'category'")


def test_several_columns_of_labels_are_refused_by_name(two: Path) -> None:
    message = refusal(two, "path,class,species\na.jpg,cat,felis\nb.jpg,dog,canis\n")
    assert "'class', 'species'; choose with --label-column" in message


def test_a_column_that_looks_like_labels_is_never_passed_over_in_silence(two: Path) -> None:
    plant(two, "c.jpg", "d.jpg")
    images = read(two, "path,kind,remark\na.jpg,x,1\nb.jpg,y,2\nc.jpg,x,3\nd.jpg,y,4\n")
    assert images.classes == ()
    [note] = images.notes
    assert "these columns look like labels: 'kind'; name one with --label-column" in note


def test_one_hot_columns_are_never_passed_over_in_silence(two: Path) -> None:
    plant(two, "c.jpg", "d.jpg")
    text = "image_id,healthy,rust\na,0,1\nb,1,0\nc,0,1\nd,1,0\n"
    assert "'healthy', 'rust'" in read(two, text).notes[-2]


def test_predicting_looks_at_no_labels(two: Path) -> None:
    images = read(two, "path,label\na.jpg,1.5\nb.jpg,2\n", layout=LayoutOptions(labelled=False))
    assert labels(images) == [("a.jpg", None), ("b.jpg", None)]
    assert images.notes == ()


# --- labels


def test_labels_are_stripped_and_their_spellings_merged(two: Path) -> None:
    plant(two, "c.jpg")
    images = read(two, "path,label\na.jpg,cat\nb.jpg,cat \nc.jpg,Cat\n")
    assert images.classes == ("cat",)
    assert "'Cat', 'cat' differ only in spelling" in images.notes[0]


def test_numbers_have_one_form(two: Path) -> None:
    plant(two, "c.jpg")
    assert read(two, "path,label\na.jpg,1\nb.jpg,1.0\nc.jpg,2\n").classes == ("1", "2")


@pytest.mark.parametrize("empty", ["", "  ", "NA", "nan", "NaN", "null", "N/A"])
def test_a_missing_label_is_no_class(two: Path, empty: str) -> None:
    images = read(two, f"path,label\na.jpg,cat\nb.jpg,{empty}\n")
    assert labels(images) == [("a.jpg", "cat"), ("b.jpg", None)]
    assert images.notes == ("No label in column 'label' in 1 of 2 rows",)


@pytest.mark.parametrize("value", ["{n}", "{n}.5"])
def test_many_different_numbers_are_no_classes(tmp_path: Path, value: str) -> None:
    plant(tmp_path, *(f"{n}.jpg" for n in range(40)))
    rows = "".join(f"{n}.jpg,{value.format(n=n)}\n" for n in range(40))
    message = refusal(tmp_path, "path,price\n" + rows, label_column="price")
    assert "column 'price' holds 40 different numbers in 40 rows" in message
    assert "--label-column" in message


def test_numbered_classes_with_enough_images_are_classes(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{n}.jpg" for n in range(150)))
    rows = "".join(f"{n}.jpg,{n % 30}\n" for n in range(150))
    assert len(read(tmp_path, "path,label\n" + rows).classes) == 30


@pytest.mark.parametrize(
    "combined",
    ["daisy|red,daisy|white,rose|red", "cats;pet,dogs;pet,cats", "a b,a c,b c,a b c,a,b"],
)
def test_labels_that_combine_several_are_reported(tmp_path: Path, combined: str) -> None:
    found = combined.split(",")
    plant(tmp_path, *(f"{n}.jpg" for n in range(len(found))))
    rows = "".join(f"{n}.jpg,{label}\n" for n, label in enumerate(found))
    [note] = read(tmp_path, "path,label\n" + rows).notes
    assert "look like several labels of one image" in note


# --- the file


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_any_usual_delimiter_and_encoding_is_read(two: Path, delimiter: str, encoding: str) -> None:
    text = "path,label\na.jpg,Käse\nb.jpg,dog\n".replace(",", delimiter)
    images = read(two, text.encode(encoding))
    assert labels(images) == [("a.jpg", "Käse"), ("b.jpg", "dog")]


def test_a_tsv_file_is_a_table(two: Path) -> None:
    assert labels(read(two, "path\tlabel\na.jpg\tcat\nb.jpg\tdog\n", "list.tsv")) == TWO


def test_the_line_in_which_spreadsheets_name_the_delimiter_is_no_header(two: Path) -> None:
    assert labels(read(two, "sep=;\r\npath;label\r\na.jpg;cat\r\nb.jpg;dog\r\n")) == TWO


def test_rows_of_commas_only_are_passed_over(two: Path) -> None:
    assert labels(read(two, "path,label\na.jpg,cat\n,\nb.jpg,dog\n,\n , \n")) == TWO


def test_a_compressed_table_is_refused_in_words(two: Path) -> None:
    assert "is compressed" in refusal(two, b"\x1f\x8b\x08\x00rubbish")


@steady
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode()))
def test_any_bytes_are_a_table_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("set") / "list.csv"
    for header in (b"", b"path,label\n"):
        file.write_bytes(header + content)
        try:
            images = read_source(file)
        except BottleneckError as error:
            message = str(error)
            assert message
        else:  # there is no image, so rows can only have failed
            assert all(image.problem for image in images.files)


# --- paths


def test_ids_without_an_extension_name_their_images(tmp_path: Path) -> None:
    plant(tmp_path, "train/aaa1.jpg", "train/bbb2.jpg", "test/ccc3.jpg")
    images = read(tmp_path, "id,breed\naaa1,pug\nbbb2,beagle\n")
    assert labels(images) == [("train/aaa1.jpg", "pug"), ("train/bbb2.jpg", "beagle")]
    assert "2 paths were found by the end of their name, the first 'aaa1'" in images.notes[-1]


def test_an_id_that_fits_two_images_is_missing(tmp_path: Path) -> None:
    plant(tmp_path, "train/1.jpg", "test/1.jpg")
    assert "1 of 1 files that do not exist" in refusal(tmp_path, "path,label\n1,cat\n")


@pytest.mark.parametrize(
    "written", ["cat\\1.jpg", "C:\\data\\pets\\cat\\1.jpg", "/home/other/pets/cat/1.jpg"]
)
def test_paths_of_another_machine_are_found_by_their_end(tmp_path: Path, written: str) -> None:
    plant(tmp_path, "cat/1.jpg", "dog/1.jpg")
    assert labels(read(tmp_path, f"path,label\n{written},cat\n")) == [("cat/1.jpg", "cat")]


def test_a_path_in_windows_1252_names_its_file(tmp_path: Path) -> None:
    plant(tmp_path, "Käse.jpg")
    assert labels(read(tmp_path, "path,label\nKäse.jpg,x\n".encode("cp1252"))) == [
        ("Käse.jpg", "x")
    ]


@pytest.mark.parametrize("cell", ["/etc/passwd", "file:///etc/passwd", "../../../../etc/passwd"])
def test_a_cell_that_leads_to_another_file_of_the_machine_is_failed_and_not_opened(
    two: Path, cell: str
) -> None:
    deep = plant(two / "x", "a.jpg")
    images = read(
        deep, f"path,label\na.jpg,cat\n{'../' * 9 + 'etc/passwd' if '..' in cell else cell},dog\n"
    )
    good, bad = images.files
    assert good.problem is None
    assert bad.problem is not None
    assert "root:" not in bad.problem


def test_many_rows_are_read_in_seconds(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg")
    rows = "".join(f"x/{'../x/' * (n % 3)}../a.jpg,cat\n" for n in range(30_000))
    started = time.perf_counter()
    assert len(read(tmp_path, "path,label\n" + rows).files) == 1
    assert time.perf_counter() - started < 20


# --- tables in folders


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "train.tsv"])
def test_a_table_in_a_folder_without_class_folders_gives_its_labels(
    tmp_path: Path, name: str
) -> None:
    plant(tmp_path, "images/0.png", "images/1.png", "images/2.png")
    text = "id,breed\n0,pug\n1,beagle\n".replace(",", "\t" if "tsv" in name else ",")
    (tmp_path / name).write_text(text)
    images = read_source(tmp_path)
    assert labels(images) == [
        ("images/0.png", "pug"),
        ("images/1.png", "beagle"),
        ("images/2.png", None),
    ]
    notes = "\n".join(images.notes)
    assert f"Labels are read from {name}" in notes
    assert f"No label in {name} for 1 of 3 images, the first 'images/2.png'" in notes


def test_splits_of_folders_stay_where_a_table_gives_the_labels(tmp_path: Path) -> None:
    plant(tmp_path, "train/0.png", "train/1.png", "test/2.png")
    (tmp_path / "labels.csv").write_text("id,breed\n0,pug\n1,beagle\n")
    assert [(file.label, file.split) for file in read_source(tmp_path).files] == [
        (None, "test"),
        ("pug", "train"),
        ("beagle", "train"),
    ]


def test_a_table_in_a_folder_opens_no_image_outside_of_it(tmp_path: Path) -> None:
    plant(tmp_path, "set/0.png", "secret.png")
    (tmp_path / "set" / "labels.csv").write_text("path,label\n0.png,cat\n../secret.png,dog\n")
    inside, outside = read_source(tmp_path / "set").files
    assert (inside.label, inside.problem) == ("cat", None)
    assert "lies outside the folder" in (outside.problem or "")


def test_tables_that_are_not_read_are_reported(tmp_path: Path) -> None:
    plant(tmp_path / "classes", "cat/1.png", "dog/2.png", "labels.csv")
    assert (
        "Labels are those of the folders; not read: labels.csv"
        in read_source(tmp_path / "classes").notes[-1]
    )
    plant(tmp_path / "flat", "1.png", "one.csv", "two.csv")
    assert "there are tables: one.csv, two.csv" in read_source(tmp_path / "flat").notes[-1]
    plant(tmp_path / "odd", "1.png", "one.csv")
    assert "No labels are read, for the table cannot be" in read_source(tmp_path / "odd").notes[-1]


@pytest.mark.parametrize(
    "options",
    [
        LayoutOptions(splits="none"),
        LayoutOptions(classes_at=1),
        LayoutOptions(label_pattern="(cat)"),
    ],
)
def test_layout_options_beside_a_table_are_refused(tmp_path: Path, options: LayoutOptions) -> None:
    table = tmp_path / "pets.csv"
    table.write_text("path,label\n")
    with pytest.raises(BottleneckError, match="goes with a folder or an archive"):
        read_source(table, layout=options)
