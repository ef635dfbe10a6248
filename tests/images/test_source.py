"""Folders, CSV files and single pictures become one ordered list, or are refused in one line."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.files import read_bytes
from bottleneck.images.names import SPLITS
from bottleneck.images.source import ImageFile, read_source

steady = settings(derandomize=True, deadline=None, database=None, max_examples=40)


def plant(top: Path, *names: str) -> Path:
    """Create files of one byte; what is in them is no matter for a listing."""
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"x")
    return top


def listing(source: Path, **options: object) -> list[tuple[str, str | None, str | None]]:
    return [(f.path, f.label, f.split) for f in read_source(source, **options).files]


def refusal(source: Path, **options: object) -> str:
    with pytest.raises(BottleneckError) as caught:
        read_source(source, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# --- folders


def unstamped(files: tuple[ImageFile, ...]) -> tuple[ImageFile, ...]:
    return tuple(file._replace(stamp=None) for file in files)


def test_pictures_in_folders_bear_their_size_and_time_where_these_can_be_told(
    tmp_path: Path,
) -> None:
    plant(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "2.jpg").symlink_to("nowhere")
    one, two = read_source(tmp_path).files
    found = (tmp_path / "cat" / "1.jpg").stat()
    assert one.stamp == (found.st_size, found.st_mtime_ns)
    assert two.stamp is None


def test_class_folders_give_labels_and_no_splits(tmp_path: Path) -> None:
    plant(tmp_path, "dog/2.png", "cat/1.jpg", "cat/old/3.JPEG")
    images = read_source(tmp_path)
    assert images.root == str(tmp_path)
    assert images.classes == ("cat", "dog")
    assert unstamped(images.files) == (
        ImageFile("cat/1.jpg", "cat"),
        ImageFile("cat/old/3.JPEG", "cat"),
        ImageFile("dog/2.png", "dog"),
    )


@pytest.mark.parametrize("name", [*SPLITS, "Train", "VALID"])
def test_split_folders_go_by_any_of_their_usual_names(tmp_path: Path, name: str) -> None:
    plant(tmp_path, f"{name}/cat/1.jpg", f"{name}/dog/deeper/2.jpg", f"{name}/3.jpg")
    split = SPLITS[name.lower()]
    assert listing(tmp_path) == [
        (f"{name}/3.jpg", None, split),
        (f"{name}/cat/1.jpg", "cat", split),
        (f"{name}/dog/deeper/2.jpg", "dog", split),
    ]


def test_train_validation_and_test_lie_side_by_side(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.jpg", "validation/cat/2.jpg", "test/cat/3.jpg", "loose.jpg")
    assert listing(tmp_path) == [
        ("loose.jpg", None, None),
        ("test/cat/3.jpg", "cat", "test"),
        ("train/cat/1.jpg", "cat", "train"),
        ("validation/cat/2.jpg", "cat", "val"),
    ]


def test_a_flat_folder_gives_neither_labels_nor_splits(tmp_path: Path) -> None:
    plant(tmp_path, "b.jpg", "a.jpg")
    assert listing(tmp_path) == [("a.jpg", None, None), ("b.jpg", None, None)]
    assert read_source(tmp_path).classes == ()


def test_a_class_called_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    plant(tmp_path, "train/1.jpg", "bus/2.jpg", "car/3.jpg")
    assert read_source(tmp_path).classes == ("bus", "car", "train")


def test_split_folders_beside_other_folders_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg", "extra/3.jpg")
    assert "mixes split folders (train, val) with others (extra)" in refusal(tmp_path)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.jpg", "cat/._1.jpg", ".ipynb_checkpoints/1.jpg", ".DS_Store")
    images = read_source(tmp_path)
    assert [f.path for f in images.files] == ["cat/1.jpg"]
    assert images.ignored == ()


def test_extensions_that_are_not_of_pictures_are_reported_once_each(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.jpg", "a/2.JFIF", "a/x.txt", "b/y.TXT", "b/z.mp4", "b/README")
    images = read_source(tmp_path)
    assert [f.path for f in images.files] == ["a/1.jpg", "a/2.JFIF"]
    assert images.ignored == ("(none)", ".mp4", ".txt")


def test_a_folder_without_pictures_is_refused_with_what_was_passed_over(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"no pictures in {tmp_path} (expected files ending in .jpg")
    plant(tmp_path, "x.txt", "deep/er/y.doc")
    assert refusal(tmp_path).endswith("files passed over: .doc, .txt")


def test_a_source_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere.csv", "nowhere.jpg", "n" * 300):
        assert f"no such folder or file: {tmp_path / name}" in refusal(tmp_path / name)


def test_one_picture_is_a_set_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "deep/1.jpg")
    monkeypatch.chdir(tmp_path)
    images = read_source("deep/1.jpg")
    assert images.root == str(tmp_path / "deep")
    assert images.files == (ImageFile("1.jpg"),)


def test_root_goes_with_a_csv_only(tmp_path: Path) -> None:
    plant(tmp_path, "1.jpg")
    assert "--root goes with a CSV file" in refusal(tmp_path, root=tmp_path)
    assert "--root goes with a CSV file" in refusal(tmp_path / "1.jpg", root=tmp_path)


# --- links and odd names


def test_a_link_that_leads_back_to_its_own_folder_is_listed_with_the_problem(
    tmp_path: Path,
) -> None:
    plant(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    (tmp_path / "cat" / "self").symlink_to(tmp_path / "cat")
    files = read_source(tmp_path).files
    assert [f.path for f in files] == ["cat/1.jpg", "cat/again", "cat/self"]
    assert [f.problem is not None and "link loop" in f.problem for f in files] == [0, 1, 1]


def test_links_to_pictures_and_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    plant(tmp_path / "elsewhere", "1.jpg", "more/2.jpg")
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set/cat/1.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    # twice the same folder is no loop
    (tmp_path / "set/dog").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "set/fox").symlink_to("../elsewhere/more")
    files = [(path, label) for path, label, _ in listing(tmp_path / "set")]
    assert files == [("cat/1.jpg", "cat"), ("dog/2.jpg", "dog"), ("fox/2.jpg", "fox")]


def test_broken_links_are_listed_for_reading_to_complain_of(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nothing.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    files = read_source(tmp_path).files
    assert files == (ImageFile("gone.jpg"), ImageFile("self.jpg"))
    with pytest.raises(UnreadableImageError, match=r"broken link: 'nothing\.jpg' does not exist"):
        read_bytes(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImageError, match="link loop: the link leads back to itself"):
        read_bytes(tmp_path / "self.jpg")
    assert read_source(tmp_path / "gone.jpg").files == (ImageFile("gone.jpg"),)


ODD_NAMES = [
    "new\nline",
    "a space",
    "emoji 🐈",
    "tab\t",
    'quo"te,',
    "-dash",
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    plant(tmp_path, f"{name}/{name}.jpg")
    [file] = read_source(tmp_path).files
    assert (file.path, file.label) == (f"{name}/{name}.jpg", name)
    assert read_bytes(tmp_path / file.path) == b"x"


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name.strip(".") and not name.startswith("."))


@steady
@given(pictures=st.sets(st.tuples(names, names), min_size=1, max_size=6), draw=st.data())
def test_the_order_of_creation_changes_nothing_and_every_path_exists(
    tmp_path_factory: pytest.TempPathFactory, pictures: set[tuple[str, str]], draw: st.DataObject
) -> None:
    paths = sorted(f"{folder}/{name}.jpg" for folder, name in pictures)
    tops = [tmp_path_factory.mktemp("set") for _ in range(2)]
    one = read_source(plant(tops[0], *paths))
    other = read_source(plant(tops[1], *draw.draw(st.permutations(paths))))
    assert unstamped(one.files) == unstamped(other.files)
    assert [f.path for f in one.files] == paths
    assert all(Path(one.root, f.path).is_file() for f in one.files)


# --- CSV


def table(top: Path, text: str | bytes) -> Path:
    file = top / "list.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_csv_gives_path_label_and_split_in_the_order_of_its_rows(tmp_path: Path) -> None:
    plant(tmp_path, "b.jpg", "a.jpg", "c.jpg")
    file = table(tmp_path, "path,label,split\nb.jpg,dog,valid\na.jpg,cat,Train\n\nc.jpg,,\n")
    assert listing(file) == [
        ("b.jpg", "dog", "val"),
        ("a.jpg", "cat", "train"),
        ("c.jpg", None, None),
    ]
    assert read_source(file).root == str(tmp_path)


def test_a_csv_of_paths_alone_is_enough(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "b.jpg")
    assert listing(table(tmp_path, "path\na.jpg\nb.jpg")) == [
        ("a.jpg", None, None),
        ("b.jpg", None, None),
    ]


def test_columns_of_other_names_are_used_when_named(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg")
    file = table(tmp_path, "label,file,species,part\nwrong,a.jpg,cat,test\n")
    columns = {"path_column": "file", "label_column": "species", "split_column": "part"}
    assert listing(file, **columns) == [("a.jpg", "cat", "test")]


@pytest.mark.parametrize("column", ["path_column", "label_column", "split_column"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, column: str
) -> None:
    file = table(plant(tmp_path, "a.jpg"), "path,kind\na.jpg,cat\n")
    assert refusal(file, **{column: "sort"}) == (
        f"{file} has no column 'sort'; it has: path, kind. Name the right one with "
        f"--{column.replace('_', '-')}"
    )


def test_a_csv_without_a_path_column_or_any_line_is_refused(tmp_path: Path) -> None:
    assert "has no column 'path'; it has: file" in refusal(table(tmp_path, "file\na.jpg\n"))
    assert "has no column 'path'; it has: no header line" in refusal(table(tmp_path, ""))
    assert "no pictures in" in refusal(table(tmp_path, "path,label\n"))


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_names(tmp_path: Path) -> None:
    plant(tmp_path, "é.jpg")
    file = table(tmp_path, b"\xef\xbb\xbfpath,label\r\n\xc3\xa9.jpg,cat\r\n")
    assert listing(file) == [("é.jpg", "cat", None)]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_csv_can_name_files_of_odd_names(tmp_path: Path, name: str) -> None:
    plant(tmp_path, f"{name}.jpg")
    quoted = name.replace('"', '""')
    file = table(tmp_path, os.fsencode(f'path,label\n"{quoted}.jpg",cat\n'))
    assert listing(file) == [(f"{name}.jpg", "cat", None)]


def test_root_is_where_the_paths_of_a_csv_start(tmp_path: Path) -> None:
    plant(tmp_path / "far", "cat/a.jpg")
    file = table(tmp_path, "path\ncat/a.jpg\n")
    images = read_source(file, root=tmp_path / "far")
    assert images.root == str(tmp_path / "far")
    assert images.files == (ImageFile("cat/a.jpg"),)
    assert f"--root {file} is not a folder" in refusal(file, root=file)


def test_dots_and_absolute_paths_lead_to_one_name_for_one_file(tmp_path: Path) -> None:
    plant(tmp_path, "set/a.jpg", "set/b.jpg", "set/c.jpg", "out.jpg")
    (tmp_path / "set" / "sub").mkdir()
    rows = ["./a.jpg", "sub/../b.jpg", tmp_path / "set" / "c.jpg", "../out.jpg"]
    file = table(tmp_path / "set", "\n".join(["path", *map(str, rows)]))
    assert [f.path for f in read_source(file).files] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
        str(tmp_path / "out.jpg"),
    ]


@pytest.mark.parametrize("root", [".", "../set", "{top}/set/../set", "../set/", "{top}//set"])
def test_paths_below_root_are_relative_however_root_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    file = table(plant(tmp_path / "set", "cat/a.jpg"), "path\ncat/a.jpg\n")
    monkeypatch.chdir(tmp_path / "set")
    assert listing(file, root=root.format(top=tmp_path)) == [("cat/a.jpg", None, None)]


def test_files_that_do_not_exist_are_refused_or_taken_as_failed(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg")
    file = table(tmp_path, "path\na.jpg\ngone.jpg\nlost.jpg\n")
    message = refusal(file)
    assert "names 2 of 3 files that do not exist" in message
    assert "'gone.jpg'; say where they are with --root, or go on" in message
    assert "--skip-missing" in message
    kept = listing(file, skip_missing=True)
    assert [path for path, _, _ in kept] == ["a.jpg", "gone.jpg", "lost.jpg"]


def test_an_unknown_split_is_refused_with_its_line(tmp_path: Path) -> None:
    file = table(plant(tmp_path, "a.jpg"), "path,split\na.jpg,train\na.jpg,holdout\n")
    message = refusal(file)
    assert "line 3: unknown split 'holdout'; expected one of train, val" in message


def test_a_row_without_a_path_is_refused_with_its_line(tmp_path: Path) -> None:
    file = table(plant(tmp_path, "a.jpg"), "label,path\ncat,a.jpg\ncat\n")
    assert "line 3: expected the path of an image in column 'path', found ''" in refusal(file)


@pytest.mark.parametrize("rows", ["a.jpg,cat,\na.jpg,dog,", "a.jpg,,train\n./a.jpg,,test"])
def test_rows_that_contradict_each_other_are_refused_with_both_lines(
    tmp_path: Path, rows: str
) -> None:
    first, second = rows.split("\n")
    file = table(plant(tmp_path, "a.jpg"), f"path,label,split\n{first}\n{first}\n{second}\n")
    assert "lines 2 and 4 give" in refusal(file)


def test_the_same_row_twice_is_kept_once(tmp_path: Path) -> None:
    file = table(plant(tmp_path, "a.jpg"), "path,label\na.jpg,cat\n./a.jpg,cat\na.jpg,cat\n")
    assert listing(file) == [("a.jpg", "cat", None)]


@pytest.mark.parametrize("skip_missing", [False, True])
def test_a_nul_character_in_a_csv_path_is_refused_with_its_line(
    tmp_path: Path, skip_missing: bool
) -> None:
    file = table(plant(tmp_path, "a.jpg"), "path\na.jpg\nb\0.jpg\n")
    assert "line 3" in refusal(file, skip_missing=skip_missing)


def test_a_csv_field_beyond_all_reason_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path, f'path\n"{"a" * 200_000}"\n')
    assert "is not a readable CSV file" in refusal(file)


# --- reading one file, and what may not be read


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 999
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_bytes(tmp_path / "a.jpg") == data


def test_a_missing_file_is_called_moved_or_deleted(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="no such file: it was moved or deleted"):
        read_bytes(tmp_path / "gone.jpg")


@pytest.mark.timeout(20)  # to open a pipe that nobody writes to takes for ever
def test_pipes_and_folders_are_called_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert unstamped(read_source(tmp_path).files) == (ImageFile("pipe.jpg"),)
    for place in (tmp_path / "pipe.jpg", tmp_path):
        with pytest.raises(UnreadableImageError, match="not a regular file"):
            read_bytes(place)


def test_a_name_that_no_file_can_have_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="cannot be read: File name too long"):
        read_bytes(tmp_path / ("n" * 300))


@pytest.fixture
def bound() -> Iterator[Path]:
    """Give a folder to somebody whom permissions bind: root passes over them."""
    # not tmp_path, for pytest lets nobody else into the folders above it
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        user = os.geteuid()
        os.seteuid(user or 65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_a_file_without_read_permission_is_refused_in_words(bound: Path) -> None:
    plant(bound, "secret.jpg").joinpath("secret.jpg").chmod(0)
    with pytest.raises(UnreadableImageError, match="no permission to read the file"):
        read_bytes(bound / "secret.jpg")


# 0: it cannot be listed; 4: listed, but nothing in it can be reached
@pytest.mark.parametrize(("mode", "path"), [(0o000, "locked"), (0o444, "locked/deeper")])
def test_a_folder_that_cannot_be_opened_is_listed_with_the_problem(
    bound: Path, mode: int, path: str
) -> None:
    plant(bound, "cat/1.jpg", "locked/deeper/2.jpg")
    (bound / "locked").chmod(mode)
    files = {f.path: f.problem for f in read_source(bound).files}
    assert files["cat/1.jpg"] is None
    assert "Permission denied" in (files[path] or "")


def test_a_source_that_cannot_be_opened_is_refused(bound: Path) -> None:
    file = table(plant(bound, "a.jpg", "locked/set/1.jpg"), "path\na.jpg\n")
    (bound / "locked").chmod(0)
    denied = f"cannot open the folder {bound / 'locked'}: Permission denied"
    assert refusal(bound / "locked") == denied
    file.chmod(0)
    assert refusal(file) == f"cannot read {file}: Permission denied"


def test_a_root_that_cannot_be_reached_is_refused(bound: Path) -> None:
    file = table(plant(bound, "locked/set/a.jpg"), "path\na.jpg\n")
    (bound / "locked").chmod(0)
    assert f"--root {bound / 'locked' / 'set'}" in refusal(file, root=bound / "locked" / "set")
