"""Checkpoint of a training, written atomically."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.atomic import write_atomically
from bottleneck.errors import BottleneckError
from bottleneck.runs.metrics import Metrics

FILE_NAME = "checkpoint.npz"

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
    np.savez(content, known=np.array(json.dumps(known)), **arrays)
    write_atomically(folder / FILE_NAME, content.getbuffer())


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
        # a ZIP archive with checksums; nothing in it is unpickled
        with np.load(file, allow_pickle=False) as content:
            known = json.loads(str(content["known"]))
            start = Metrics(**known.pop("start"))
            history = [
                Epoch(**(entry | {"val": Metrics(**entry["val"])}))
                for entry in known.pop("history")
            ]
            same = known.pop("same")
            kept = {name: list(_numbered(content, content.files, name)) for name in same.values()}
            arrays = {name: kept[same[name]] for name in _ARRAYS}
        return State(start=start, history=history, **(known | arrays))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise BottleneckError(
            f"{file} is damaged ({error}); delete {folder} and run the same command again"
        ) from error


def _numbered(content: Any, names: Sequence[str], name: str) -> Iterator[NDArray[Any]]:
    count = sum(other.rpartition("-")[0] == name for other in names)
    return (content[f"{name}-{number}"] for number in range(count))
