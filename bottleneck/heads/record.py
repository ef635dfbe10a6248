"""What a run records besides the head: predictions, data digest, versions."""

import contextlib
import hashlib
import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.location import name_of
from bottleneck.cache.rows import Row
from bottleneck.heads.split import Split
from bottleneck.runs.run import Run
from bottleneck.runs.table import PREDICTIONS, class_columns, write_table


@dataclass(frozen=True)
class FittedRun:
    """A run and its folder. For a run at a URL, `path` is the folder of its local mirror."""

    path: Path
    run: Run

    @property
    def name(self) -> str:
        """Path or URL of the run, for messages."""
        return name_of(self.path)


def write_predictions(
    folder: Path, split: Split, classes: tuple[str, ...], probabilities: NDArray[np.float32]
) -> None:
    """Write ``predictions.csv``: the prediction for each image of the split.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    split : Split
    classes : tuple of str
    probabilities : ndarray of float32, shape (n, classes)
        In the order of the images of the split.
    """
    header = ["path", "label", "split", "prediction", "confidence", *class_columns(classes)]
    images = [(name, row) for name, part in split.parts.items() for row in part]
    lines = (
        [
            row.path,
            row.label,
            name,
            classes[int(p.argmax())],
            # the fewest digits that identify a float32: rounded values could not be compared exactly
            *map(str, (p.max(), *p)),
        ]
        for (name, row), p in zip(images, probabilities, strict=True)
    )
    write_table(folder / PREDICTIONS, header, lines)


def digest_data(rows: tuple[Row, ...]) -> str:
    """Compute the SHA-256 of the images' digests, labels and splits, in any order, as hexadecimal."""
    named = sorted((row.digest, row.label, row.split or "") for row in rows)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def find_versions() -> dict[str, str]:
    """Find the versions of Python and of the packages that fitting depends on."""
    software = ("bottleneck-features", "numpy", "scikit-learn", "keras", "tensorflow", "pillow")
    versions = {"python": platform.python_version()}
    for name in software:
        # most heads need no TensorFlow, and some of its builds have other package names
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
