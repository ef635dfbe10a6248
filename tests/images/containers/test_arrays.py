"""Arrays of pixels are pictures where they can be; grey ones too."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import decode
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 9, 7, 3), (5, 9, 7, 1), (5, 9, 7)])
def test_pixels_are_decoded_to_themselves(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "a.npz", pictures=pixels, kinds=[b"x", b"y", b"x", b"y", b"z"])
    images = read_source(tmp_path / "a.npz")
    assert [file.label for file in images.files] == ["x", "y", "x", "y", "z"]
    data = open_place(images.root).read("a.npz/pictures/3")
    square = np.broadcast_to(pixels[3].reshape(9, 7, -1), (9, 7, 3))[:7, :7]
    whole = decode(data, 7, "crop")
    assert whole.shape == square.shape
    assert set(whole.reshape(-1)) <= set(pixels[3].reshape(-1))


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.array([{"a": 1}], object))
    with pytest.raises(BottleneckError, match="no array of images"):
        read_source(tmp_path / "a.npz")
    pictures = np.zeros((1, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "b.npz", x_train=pictures, y_train=np.array([Path()], object))
    with pytest.raises(BottleneckError, match=r"y_train does not label x_train.*Python objects"):
        read_source(tmp_path / "b.npz")


def test_arrays_that_are_no_pictures_are_listed_with_their_shapes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((4, 8, 8, 3), np.float32)
    with pytest.raises(BottleneckError, match=r"it has: x float32 \(4, 8, 8, 3\)"):
        read_source(tmp_path / "a.h5")


def test_labels_are_found_by_the_name_of_their_pictures(tmp_path: Path) -> None:
    pictures = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez(
        tmp_path / "medical.npz",
        train_images=pictures,
        train_labels=np.array([[0], [1], [2]]),
        test_images=pictures,
        test_labels=np.array([[5], [6], [7]]),
        train_ages=np.array([30, 40, 50]),
    )
    found = [(file.label, file.split) for file in read_source(tmp_path / "medical.npz").files]
    assert found == [(n, "train") for n in "012"] + [(n, "test") for n in "567"]


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2]),
        np.eye(4, dtype=np.int64),
        np.array([0.5, 1.5, 2.5, 3.5]),
        np.array([], np.int64),
    ],
    ids=["three", "one-hot", "float", "none"],
)
@pytest.mark.parametrize(
    "names", [("x", "y"), ("x_val", "y_val"), ("pets", "labels"), ("X_train", "Y_train")]
)
def test_labels_of_another_length_or_kind_are_refused(
    kind: str, labels: np.ndarray, names: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / f"a.{kind}"
    write_arrays(file, {names[0]: np.zeros((4, 6, 5, 3), np.uint8), names[1]: labels})
    with pytest.raises(BottleneckError, match=f"{names[1]} does not label {names[0]}: expected 4"):
        read_source(file)


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    if file.suffix == ".npz":
        np.savez(file, **arrays)
        return
    with h5py.File(file, "w") as content:
        for name, array in arrays.items():
            content[name] = array


def test_arrays_saved_without_names_are_labelled_by_their_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.zeros((3, 6, 5, 3), np.uint8), np.array([4, 5, 6]))
    assert [file.label for file in read_source(tmp_path / "a.npz").files] == ["4", "5", "6"]
    np.savez(tmp_path / "b.npz", np.zeros((3, 6, 5, 3), np.uint8), np.array([4, 5]))
    with pytest.raises(BottleneckError, match="arr_1 does not label arr_0"):
        read_source(tmp_path / "b.npz")


def test_names_of_classes_are_not_taken_for_labels(tmp_path: Path) -> None:
    images = np.zeros((3, 6, 5, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0, 1], names=["cat", "dog"])
    assert [file.label for file in read_source(tmp_path / "a.npz").files] == ["1", "0", "1"]
    np.savez(tmp_path / "b.npz", images=images, names=["cat", "dog"])
    assert [file.label for file in read_source(tmp_path / "b.npz").files] == [None] * 3


def test_an_empty_label_is_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 6, 5, 3), np.uint8), y=["cat", "", "dog"])
    assert [file.label for file in read_source(tmp_path / "a.npz").files] == ["cat", None, "dog"]


def test_a_label_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 6, 5, 3), np.uint8), y=[b"cat", b"\xff"])
    with pytest.raises(BottleneckError, match="labels in y"):
        read_source(tmp_path / "a.npz")


def test_an_array_that_claims_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = (900_000, 1000, 1000, 3)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(BottleneckError, match=r"x claims to be uint8 of shape .* cannot hold"):
        read_source(tmp_path / "a.npz")


def test_an_array_that_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {f"x{n}": np.zeros((10, 64, 64, 3), np.uint8) for n in range(3)}
    np.savez_compressed(tmp_path / "a.npz", **parts)
    monkeypatch.setenv("BOTTLENECK_MAX_BYTES", "300000")  # enough for each, but all are kept
    with pytest.raises(BottleneckError, match=r"unpack to 369,024 .*BOTTLENECK_MAX_BYTES=369024"):
        read_source(tmp_path / "a.npz")
    monkeypatch.setenv("BOTTLENECK_MAX_BYTES", "369024")
    assert len(read_source(tmp_path / "a.npz").files) == 30
