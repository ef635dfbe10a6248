"""Arrays of pixels are pictures where they can be; grey ones too."""

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
    with pytest.raises(BottleneckError, match="no array of pictures"):
        read_source(tmp_path / "a.npz")
    pictures = np.zeros((1, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "b.npz", x_train=pictures, y_train=np.array([Path()], object))
    assert [file.label for file in read_source(tmp_path / "b.npz").files] == [None]


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
