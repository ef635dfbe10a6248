"""Datasets of HDF5 whose data are elsewhere, or cannot be there, are refused by name and never read."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


def make_virtual(file: h5py.File, name: str, folder: Path, shape: tuple[int, ...]) -> None:
    layout = h5py.VirtualLayout(shape, np.uint8)
    with h5py.File(folder / "source.h5", "w") as source:
        source["x"] = np.full(shape, 7, np.uint8)
    layout[...] = h5py.VirtualSource(folder / "source.h5", "x", shape)
    file.create_virtual_dataset(name, layout)


def make_virtual_without_its_source(
    file: h5py.File, name: str, folder: Path, shape: tuple[int, ...]
) -> None:
    layout = h5py.VirtualLayout((10**6, *shape[1:]), np.uint8, maxshape=(None, *shape[1:]))
    source = h5py.VirtualSource(folder / "nowhere.h5", "x", shape, maxshape=(None, *shape[1:]))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset(name, layout)


def make_external(file: h5py.File, name: str, folder: Path, shape: tuple[int, ...]) -> None:
    (folder / "secret").write_bytes(b"s" * int(np.prod(shape)))
    file.create_dataset(
        name, shape, np.uint8, external=[(str(folder / "secret"), 0, int(np.prod(shape)))]
    )


def make_link(file: h5py.File, name: str, folder: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(shape, np.uint8)
    file[name] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def make_unwritten(
    file: h5py.File,
    name: str,
    folder: Path,
    shape: tuple[int, ...],
) -> None:
    file.create_dataset(name, (10**12, *shape[1:]), np.uint8, chunks=(1, *shape[1:]))


def make_unwritten_in_place(
    file: h5py.File,
    name: str,
    folder: Path,
    shape: tuple[int, ...],
) -> None:
    file.create_dataset(name, (10**9, *shape[1:]), np.uint8)


def make_large_chunks(
    file: h5py.File,
    name: str,
    folder: Path,
    shape: tuple[int, ...],
) -> None:
    side = 2**15
    file.create_dataset(
        name, (1, side, side, 3), np.uint8, chunks=(1, side, side, 3), compression="gzip"
    )
    assert shape


Maker = Callable[[h5py.File, str, Path, tuple[int, ...]], None]
MAKERS: dict[Maker, str] = {
    make_virtual: "is a virtual dataset",
    make_virtual_without_its_source: "is a virtual dataset",
    make_external: "has its data in other files",
    make_link: "is a link to another file",
    make_unwritten: "claims to be uint8 of shape",
    make_unwritten_in_place: "claims to be uint8 of shape",
    make_large_chunks: "has chunks that unpack to 3,221,225,472 bytes, and the limit is",
}
each_kind = pytest.mark.parametrize(
    ("make", "reason"), MAKERS.items(), ids=[make.__name__ for make in MAKERS]
)


@each_kind
def test_such_images_are_refused_by_name(make: Maker, reason: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file, "pets/images", tmp_path, IMAGES.shape)
    with pytest.raises(BottleneckError, match=f"no array of images.*: pets/images {reason}"):
        read_source(tmp_path / "a.h5")


@each_kind
def test_such_images_are_one_failed_image_beside_others(
    make: Maker, reason: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file, "train/images", tmp_path, IMAGES.shape)
        file["val/images"], file["val/labels"] = IMAGES, [0, 1, 0, 1]
    files = read_source(tmp_path / "a.h5").files
    assert [file.label for file in files if not file.problem] == ["0", "1", "0", "1"]
    [failed] = [file for file in files if file.problem]
    assert failed.path == "a.h5/train/images"
    assert (failed.problem or "").startswith(reason)
    for path in ("a.h5/train/images", "a.h5/train/images/0"):
        with pytest.raises(UnreadableImageError):
            open_place(str(tmp_path)).read(path)


@pytest.mark.parametrize("make", [make_virtual, make_external, make_link])
def test_such_labels_are_refused_by_name(make: Maker, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = IMAGES
        make(file, "labels", tmp_path, (len(IMAGES),))
    with pytest.raises(BottleneckError, match="the labels of images may not be read: labels "):
        read_source(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (1, 6, 5, 3)},
        {"chunks": (3, 6, 5, 3), "compression": "gzip", "shuffle": True},
        {"chunks": True, "compression": "lzf", "maxshape": (None, 6, 5, 3)},
    ],
    ids=str,
)
def test_plain_datasets_are_read(options: dict[str, object], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, **options)
        file["labels"] = ["cat", "dog", "", "cat"]
        file["the same"] = h5py.SoftLink("/images")
    files = read_source(tmp_path / "a.h5").files
    assert [file.label for file in files] == ["cat", "dog", None, "cat"]
    place = open_place(str(tmp_path))
    for file, pixels in zip(files, IMAGES, strict=True):
        assert place.read(file.path).endswith(pixels.tobytes())


def test_highly_compressible_images_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "images", data=np.zeros((500, 100, 100), np.uint8), chunks=True, compression="gzip"
        )
    assert len(read_source(tmp_path / "a.h5").files) == 500
