"""Names of members are brought to one form before labels and splits are read from them."""

import io
import tarfile
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bottleneck.images.place import open_place
from bottleneck.images.source import ImageFile, read_source

KINDS = ["tar", "zip"]


def pack(file: Path, names: Sequence[str]) -> tuple[ImageFile, ...]:
    """Write members that contain their own number, and list them."""
    contents = [str(number).encode() for number in range(len(names))]
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in zip(names, contents, strict=True):
                entry = zipfile.ZipInfo("x")
                entry.filename = name
                archive.writestr(entry, content)
    else:
        with tarfile.open(file, "w") as archive:
            for name, content in zip(names, contents, strict=True):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return read_source(file).files


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "./{}",
        ".//{}",
        "/{}",
        "//{}",
        "C:/{}",
        "C:\\{}",
        "pets/{}",
        "./pets/./{}",
        "up/../{}",
        "./a/b/../../{}",
    ],
)
def test_the_form_of_names_changes_neither_labels_nor_splits(
    form: str, kind: str, tmp_path: Path
) -> None:
    names = ["train/cat/1.png", "train/dog/2.png", "val/cat/3.png"]
    written = [form.format(name) for name in names]
    if "\\" in form:
        written = [name.replace("/", "\\") for name in written]
    found = pack(tmp_path / f"a.{kind}", written)
    assert [(file.label, file.split, file.problem) for file in found] == [
        ("cat", "train", None),
        ("dog", "train", None),
        ("cat", "val", None),
    ]
    place = open_place(str(tmp_path))
    assert [place.read(file.path) for file in found] == [b"0", b"1", b"2"]
    # listings written before have the names as they are in the archive
    assert [place.read(f"a.{kind}/{name}") for name in written] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("kind", KINDS)
def test_composed_and_decomposed_unicode_is_one_class(kind: str, tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "caf\u00e9/1.png") for form in ("NFC", "NFD")]
    found = pack(tmp_path / f"a.{kind}", [names[0], names[1].replace("1", "2"), "dog/3.png"])
    assert len({file.label for file in found}) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_leads_out_is_a_failed_image_and_changes_no_other(
    kind: str, tmp_path: Path
) -> None:
    good = [f"pets/{split}/{label}/1.png" for split in ("train", "val") for label in ("cat", "dog")]
    out = ["../../evil.png", "pets/../../evil.png", "..\\evil.png", "/../evil.png"]
    found = pack(tmp_path / f"a.{kind}", [*out[:2], *good, *out[2:]])
    assert len({file.path for file in found}) == 8
    failed = [file for file in found if file.problem]
    assert len(failed) == 4
    for file in failed:
        assert "its name leads out of the archive: " in (file.problem or "")
        assert ".." not in file.path
        assert (file.label, file.split) == (None, None)
    assert [(f.label, f.split) for f in found if not f.problem] == [
        ("cat", "train"),
        ("dog", "train"),
        ("cat", "val"),
        ("dog", "val"),
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", ["cat/1.png", "./cat/1.png", "cat//1.png", "dog/../cat/1.png"])
def test_of_members_with_one_name_the_last_counts_and_the_others_are_failed(
    again: str, kind: str, tmp_path: Path
) -> None:
    found = pack(tmp_path / f"a.{kind}", ["cat/1.png", "dog/1.png", again, "cat/1.png"])
    assert {file.path.split("/", 1)[1]: file.problem for file in found} == {
        "cat/1 (1).png": "a later member of the archive has the same name",
        "dog/1.png": None,
        "cat/1 (2).png": "a later member of the archive has the same name",
        "cat/1.png": None,
    }
    assert open_place(str(tmp_path)).read(f"a.{kind}/cat/1.png") == b"3"


def test_a_cut_tar_keeps_the_labels_of_its_images(tmp_path: Path) -> None:
    names = [
        f"pets/{split}/{label}/1.png" for split in ("train", "val") for label in ("cat", "dog")
    ]
    pack(tmp_path / "a.tar", names)
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: 3 * 1024])
    found = read_source(tmp_path / "a.tar").files
    assert [(file.label, file.split) for file in found] == [
        ("cat", "train"),
        ("dog", "train"),
        ("cat", "val"),
        (None, None),
    ]
    assert "cut short" in (found[-1].problem or "")


def test_an_absolute_name_beside_relative_ones_ends_nothing(tmp_path: Path) -> None:
    found = pack(tmp_path / "trav.zip", ["/etc/passwd.png", "cat/1.png", "../../x.png"])
    assert [file.problem is None for file in found] == [True, True, False]
