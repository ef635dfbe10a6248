"""Pictures in containers are those of the folder they were packed from."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source
from tests.images.containers import packing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packing.plant(tmp_path_factory.mktemp("pets"))


def content(source: Path) -> dict[str, tuple[str | None, str | None]]:
    """Digest → label and split, of all pictures; those of the test split count as validation."""
    images = read_source(source)
    place = open_place(images.root)
    assert len({file.path for file in images.files}) == len(images.files)
    assert all(file.problem is None for file in images.files)
    return {
        hashlib.sha256(place.read(file.path)).hexdigest(): (
            file.label,
            "val" if file.split == "test" else file.split,
        )
        for file in images.files
    }


KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "zip": lambda folder, top: packing.into_zip(folder, top / "pets.zip"),
    "tar": lambda folder, top: packing.into_tar(folder, top / "pets.tar"),
    "webdataset": lambda folder, top: packing.into_webdataset(folder, top / "shards"),
    "parquet": lambda folder, top: packing.into_parquet(folder, top / "table"),
}
NUMBERED: dict[str, Callable[[Path, Path], Path]] = {
    "npz": lambda folder, top: packing.into_npz(folder, top / "pets.npz"),
    "hdf5": lambda folder, top: packing.into_hdf5(folder, top / "pets.h5"),
}
CIFAR: dict[str, Callable[[Path, Path], Path]] = {
    "cifar": lambda folder, top: packing.into_cifar(folder, top / "cifar"),
    "cifar-binary": lambda folder, top: packing.into_cifar(folder, top / "cifar", binary=True),
}


@pytest.mark.parametrize("kind", [*KINDS, *CIFAR])
def test_bytes_labels_and_splits_are_those_of_the_folder(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    packed = (KINDS | CIFAR)[kind](folder, tmp_path)
    assert content(packed) == content(folder)


@pytest.mark.parametrize("kind", NUMBERED)
def test_in_arrays_labels_are_the_numbers_they_have_there(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    numbers = {name: str(n) for n, name in enumerate(packing.CLASSES)}
    expected = {
        digest: (numbers[label], split)
        for digest, (label, split) in content(folder).items()
        if label
    }
    assert content(NUMBERED[kind](folder, tmp_path)) == expected


@pytest.mark.parametrize("kind", [*KINDS, *NUMBERED, *CIFAR])
def test_threads_read_at_once(kind: str, folder: Path, tmp_path: Path) -> None:
    images = read_source((KINDS | NUMBERED | CIFAR)[kind](folder, tmp_path))
    place = open_place(images.root)
    paths = [file.path for file in images.files] * 20
    alone = [place.read(path) for path in paths[: len(images.files)]] * 20
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8, initializer=start.wait) as pool:
        assert list(pool.map(place.read, paths)) == alone


@pytest.mark.parametrize("kind", [*KINDS, *NUMBERED, *CIFAR])
def test_a_picture_changes_with_its_container(kind: str, folder: Path, tmp_path: Path) -> None:
    images = read_source((KINDS | NUMBERED | CIFAR)[kind](folder, tmp_path))
    place = open_place(images.root)
    for file in images.files:
        assert file.stamp == place.stamp(file.path)
    first = images.files[0].path
    with pytest.raises(UnreadableImageError, match="the container has no"):
        place.read(f"{first}9")


def test_a_container_that_is_gone_is_a_reason_for_each_of_its_pictures(
    folder: Path, tmp_path: Path
) -> None:
    images = read_source(packing.into_zip(folder, tmp_path / "pets.zip"))
    (tmp_path / "pets.zip").unlink()
    with pytest.raises(UnreadableImageError, match="moved or deleted"):
        open_place(images.root).read(images.files[0].path)


def test_a_folder_called_like_a_container_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "old.zip").mkdir()
    (tmp_path / "old.zip/1.jpg").write_bytes(b"bytes")
    images = read_source(tmp_path)
    assert open_place(images.root).read(images.files[0].path) == b"bytes"
    assert images.files[0].stamp == open_place(images.root).stamp(images.files[0].path)


def test_archives_beside_pictures_are_passed_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"bytes")
    packing.into_zip(folder, tmp_path / "pets.zip")
    images = read_source(tmp_path)
    assert [file.path for file in images.files] == ["1.jpg"]
    assert ".zip" in images.ignored


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.parquet", "a.npz", "a.h5", "data_batch_1"])
def test_what_is_not_what_its_name_says_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b not at all " * 99)
    with pytest.raises(BottleneckError, match=f"{name} is not a readable") as caught:
        read_source(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_one_damaged_container_among_others_is_named_and_the_others_are_taken(
    folder: Path, tmp_path: Path
) -> None:
    top = packing.into_webdataset(folder, tmp_path / "shards")
    (top / "train-000001.tar").write_bytes(b"garbage" * 999)
    files = read_source(top).files
    [damaged] = [file for file in files if file.problem]
    assert damaged.path == "train-000001.tar"
    assert "is not a readable tar file" in (damaged.problem or "")
    assert {file.path.split("/")[0] for file in files} == {
        "train-000000.tar",
        "train-000001.tar",
        "val-000000.tar",
        "val-000001.tar",
    }


@pytest.mark.parametrize("name", ["pets.tar.gz", "PETS.TGZ", "pets.7z"])
def test_an_archive_compressed_as_a_whole_is_refused_with_a_way_round(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(BottleneckError, match=r"compressed as a whole.*unpack it"):
        read_source(tmp_path / name)
