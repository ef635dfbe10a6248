"""Checkpoint of a training: complete in a file, or absent.

The file is a line with the SHA-256 of all that follows, and then a NumPy archive. A checkpoint of an earlier
version has no such line and is still read, so that an upgrade loses no training: the checksums of its parts
protect it as before, and the next epoch writes the line. An archive begins with other bytes than the line, so no
damage to one makes it pass for the other.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.atomic import read_regular, write_atomically
from bottleneck.cache.schema import SchemaError, between, build, read_json
from bottleneck.errors import BottleneckError, one_line
from bottleneck.runs.metrics import Metrics

FILE_NAME = "checkpoint.npz"

_FORMAT = b"bottleneck-checkpoint 2 "
_DIGITS = 64  # hexadecimal digits of a SHA-256
_HEADER = len(_FORMAT) + _DIGITS + 1
_MAX_COUNT = 2**31  # stages or epochs; more than anybody trains
_ARCHIVE = b"PK\x03\x04"  # what a NumPy archive begins with

Weights = list[NDArray[Any]]


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch.

    Attributes
    ----------
    stage, epoch : int
        Counted from 1; the epoch within its stage.
    learning_rate : float
        Learning rate of its last step.
    loss : float
        Mean training loss, in nats.
    val : Metrics
        Validation metrics.
    seconds : float
        Duration, including validation.
    """

    stage: int
    epoch: int
    learning_rate: float
    loss: float
    val: Metrics
    seconds: float


@dataclass
class State:
    """State of a training.

    Attributes
    ----------
    stage, epoch : int
        The current stage, counted from 0, and how many of its epochs are done.
    start : Metrics or None
        Validation metrics before training; None until they are known.
    history : list of Epoch
    weights : list of ndarray
        Current values of the trained variables.
    optimizer : list of ndarray
        State of the optimiser; empty at the start of a stage.
    stage_best, best : list of ndarray
        The weights after the best epoch of this stage, and of all stages; empty before the first epoch.
    stopped : str
        Why training ended early; empty if it did not.
    """

    stage: int = 0
    epoch: int = 0
    start: Metrics | None = None
    history: list[Epoch] = field(default_factory=list)
    weights: Weights = field(default_factory=list)
    optimizer: Weights = field(default_factory=list)
    stage_best: Weights = field(default_factory=list)
    best: Weights = field(default_factory=list)
    stopped: str = ""

    def best_of(self, stage: int | None = None) -> Epoch | None:
        """Return the epoch with the lowest validation log loss, of a stage (from 1) or of all."""
        epochs = [entry for entry in self.history if stage in (None, entry.stage)]
        return min(epochs, key=lambda entry: entry.val.log_loss, default=None)


@dataclass(frozen=True)
class _Known:
    """What a checkpoint holds besides arrays."""

    stage: Annotated[int, between(0, _MAX_COUNT)]
    epoch: Annotated[int, between(0, _MAX_COUNT)]
    stopped: str
    start: Metrics | None
    history: tuple[Epoch, ...]
    same: dict[str, str]


_ARRAYS = ("weights", "optimizer", "stage_best", "best")


def write_checkpoint(folder: Path, state: State) -> None:
    """Write a state and replace the previous one.

    Raises
    ------
    BottleneckError
        The disk is full; the previous checkpoint is kept.
    """
    known: dict[str, Any] = {
        "stage": state.stage,
        "epoch": state.epoch,
        "stopped": state.stopped,
        "start": None if state.start is None else dataclasses.asdict(state.start),
        "history": [dataclasses.asdict(entry) for entry in state.history],
    }
    kept: dict[int, str] = {}
    # the best weights are often the current ones: equal arrays are written once
    known["same"] = {name: kept.setdefault(id(getattr(state, name)), name) for name in _ARRAYS}
    arrays = {
        f"{name}-{number}": values
        for name in kept.values()
        for number, values in enumerate(getattr(state, name))
    }
    content = io.BytesIO()
    content.write(bytes(_HEADER))
    np.savez(content, known=np.array(json.dumps(known)), **arrays)
    view = content.getbuffer()
    digest = hashlib.sha256(view[_HEADER:]).hexdigest().encode()
    view[:_HEADER] = _FORMAT + digest + b"\n"
    write_atomically(folder / FILE_NAME, view)


def read_checkpoint(folder: Path) -> State:
    """Read a state; return a new one if there is no checkpoint.

    Raises
    ------
    BottleneckError
        The file is damaged.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return State()
    try:
        archive = _check_digest(read_regular(file))
        # nothing in it is unpickled
        with np.load(io.BytesIO(archive), allow_pickle=False) as content:
            known = build(_Known, read_json(str(content["known"])))
            kept = {
                name: list(_numbered(content, content.files, name))
                for name in set(known.same.values())
            }
            arrays = {name: kept[known.same[name]] for name in _ARRAYS}
    # a NumPy archive may raise any of these, EOFError where it is empty
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BottleneckError(
            f"{file} is damaged ({one_line(error)}); delete {folder} and run the same command again"
        ) from error
    return State(
        known.stage, known.epoch, known.start, list(known.history), stopped=known.stopped, **arrays
    )


def _check_digest(content: bytes) -> memoryview:
    """Compare the digest of a checkpoint with its bytes, and return the archive in it."""
    if content.startswith(_ARCHIVE):  # of an earlier version
        return memoryview(content)
    archive = memoryview(content)[_HEADER:]
    digest = hashlib.sha256(archive).hexdigest().encode()
    if content[:_HEADER] != _FORMAT + digest + b"\n":
        raise SchemaError("its SHA-256 is not the one in its first line")
    return archive


def _numbered(content: Any, names: Sequence[str], name: str) -> Iterator[NDArray[Any]]:
    count = sum(other.rpartition("-")[0] == name for other in names)
    return (content[f"{name}-{number}"] for number in range(count))
