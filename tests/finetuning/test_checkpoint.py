"""A checkpoint is read as it was written, or named as damaged."""

from pathlib import Path

import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.finetuning.checkpoint import (
    FILE_NAME,
    Epoch,
    State,
    read_checkpoint,
    write_checkpoint,
)
from bottleneck.runs.metrics import Metrics

METRICS = Metrics(6, 0.5, 0.5, 0.4, 0.69)


def state() -> State:
    rng = np.random.default_rng(0)
    now, best = ([rng.normal(size=(3, 4)), np.arange(5)] for _ in range(2))
    epochs = [Epoch(1, number, 1e-3, 0.7, METRICS, 1.5) for number in (1, 2)]
    return State(0, 2, METRICS, epochs, now, [np.float32(3)], best, best, "")


def test_checkpoint_round_trip_keeps_the_state(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state())
    found, expected = read_checkpoint(tmp_path), state()
    assert (found.stage, found.epoch, found.start) == (0, 2, METRICS)
    assert found.history == expected.history
    for name in ("weights", "optimizer", "stage_best", "best"):
        pairs = zip(getattr(found, name), getattr(expected, name), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs), name


def test_equal_arrays_are_written_once(tmp_path: Path) -> None:
    large = state()
    large.best = large.stage_best = [np.zeros(10**6)]
    write_checkpoint(tmp_path, large)
    assert (tmp_path / FILE_NAME).stat().st_size < 9e6


def test_an_empty_checkpoint_is_named_as_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    with pytest.raises(BottleneckError, match="is damaged"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_cut_anywhere_is_named_as_damaged(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state())
    content = (tmp_path / FILE_NAME).read_bytes()
    for length in [*range(1, 120), *range(120, len(content), 40)]:
        (tmp_path / FILE_NAME).write_bytes(content[:length])
        with pytest.raises(BottleneckError, match="is damaged"):
            read_checkpoint(tmp_path)


def test_one_bit_changed_anywhere_is_found(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state())
    content = (tmp_path / FILE_NAME).read_bytes()
    for offset in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << (offset % 8)
        (tmp_path / FILE_NAME).write_bytes(damaged)
        with pytest.raises(BottleneckError, match="is damaged"):
            read_checkpoint(tmp_path)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state())
    file = tmp_path / FILE_NAME
    file.write_bytes(
        file.read_bytes().partition(b"\n")[2]
    )  # without the digest, as it was written before
    found = read_checkpoint(tmp_path)
    assert found.history == state().history
    assert all(map(np.array_equal, found.weights, state().weights))


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_an_error(place: float, tmp_path: Path) -> None:
    large = state()
    large.weights = [np.random.default_rng(0).normal(size=1000)]
    write_checkpoint(tmp_path, large)
    file = tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(BottleneckError, match="is damaged"):
        read_checkpoint(tmp_path)
