"""CIFAR-10's batches are pickles, and none of what else a pickle may do is done."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.source import read_source


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    content = {b"data": np.zeros((1, 3072), np.uint8), b"labels": Hostile(tmp_path / "harm")}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(BottleneckError, match=r"it asks for posix\.mkdir, which"):
        read_source(tmp_path / "data_batch_1")
    assert not (tmp_path / "harm").exists()


def test_without_their_names_labels_are_numbers(tmp_path: Path) -> None:
    rows = np.zeros((2, 3073), np.uint8)
    rows[:, 0] = 3, 9
    (tmp_path / "data_batch_4.bin").write_bytes(rows.tobytes())
    found = read_source(tmp_path / "data_batch_4.bin").files
    assert [(file.path, file.label, file.split) for file in found] == [
        ("data_batch_4.bin/0", "3", "train"),
        ("data_batch_4.bin/1", "9", "train"),
    ]


def test_a_batch_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 * 2 - 1))
    with pytest.raises(BottleneckError, match="6,145 bytes are no multiple of 3,073"):
        read_source(tmp_path / "test_batch.bin")


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (np.zeros((2, 3072), np.float32), [0, 1]),
        (np.zeros((2, 3072), np.int64), [0, 1]),
        (np.zeros((2, 3072), np.uint8), [0.5, 1]),
        (np.zeros((2, 3072), np.uint8), ["0", 1]),
        (np.zeros((2, 3072), np.uint8), [0, 1, 2]),
    ],
)
def test_pixels_or_labels_of_another_kind_are_refused(
    data: np.ndarray, labels: list[object], tmp_path: Path
) -> None:
    content = {b"data": data, b"labels": labels}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(BottleneckError, match="is not a readable batch of CIFAR-10"):
        read_source(tmp_path / "data_batch_1")


def test_a_negative_label_is_not_the_last_class(tmp_path: Path) -> None:
    content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [-1, 1]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
    assert [file.label for file in read_source(tmp_path / "data_batch_1").files] == ["-1", "dog"]


def test_a_pickle_that_makes_a_table_of_gigabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02]r\xff\xff\xff\x0f.")
    with pytest.raises(BottleneckError, match="remembers an object as number 268435455"):
        read_source(tmp_path / "data_batch_1")


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_1.bin"])
def test_a_sparse_batch_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(3073 * 2**22)
    with pytest.raises(BottleneckError, match=r"it has 12,889,096,192 bytes.*BOTTLENECK_MAX_BYTES"):
        read_source(tmp_path / name)
