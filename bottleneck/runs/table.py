"""Predictions as a CSV file."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.atomic import write_output
from bottleneck.errors import BottleneckError

# In a run's folder: what its head says of the images it was fitted, chosen and measured on.
PREDICTIONS = "predictions.csv"

# Columns of it before those of the classes.
_BEFORE = ("path", "label", "split", "prediction", "confidence")

# How far probabilities of an image may be from 1 together: each may have been rounded at its sixth
# decimal, and ImageNet has 1,000 of them.
_ROUNDING = 1e-3

# Columns that say something of the image itself; a class of the same name is written class_NAME.
FIXED = ("path", "label", "split", "prediction", "confidence", "reason")


def class_columns(classes: Sequence[str]) -> list[str]:
    """Name the columns of the classes so that none collides with a fixed one.

    Examples
    --------
    >>> class_columns(["cat", "path"])
    ['cat', 'class_path']
    """
    return [f"class_{name}" if name in FIXED else name for name in classes]


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, all of it or nothing; names that are no valid UTF-8 keep their bytes."""
    text = io.StringIO(newline="")
    write_rows(text, header, rows)
    write_output(file, text.getvalue().encode("utf-8", "surrogateescape"))


def write_rows(lines: TextIO, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to an open text file."""
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


@dataclass(frozen=True)
class Predictions:
    """What a run says of images.

    Attributes
    ----------
    paths, labels, splits : tuple of str
    probabilities : ndarray of float32, shape (n, classes)
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    probabilities: NDArray[np.float32]


def read_predictions(file: Path, classes: Sequence[str]) -> Predictions:
    """Read the table that lies in a run's folder.

    Parameters
    ----------
    file : Path
    classes : sequence of str
        The run's, in the order of its columns.

    Raises
    ------
    BottleneckError
        It is not there, or does not hold probabilities of these classes.

    Examples
    --------
    >>> told = read_predictions(example_run / PREDICTIONS, ["flower", "temple"])
    >>> told.splits, told.probabilities.shape
    (('train', 'train', 'train', 'train', 'val', 'val'), (6, 2))
    """
    header = [*_BEFORE, *class_columns(classes)]
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as text:
            first, *lines = csv.reader(text)
        if first != header or any(len(line) != len(header) for line in lines):
            raise ValueError("its columns are others")  # noqa: TRY301
        numbers = [line[len(_BEFORE) :] for line in lines]
        probabilities = np.array(numbers, np.float32).reshape(len(lines), len(classes))
        # written so that NaN is refused as well
        if not (
            (probabilities >= 0).all()
            and (np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1) <= _ROUNDING).all()
        ):
            raise ValueError("not all of its numbers are probabilities")  # noqa: TRY301
    except FileNotFoundError as error:
        raise BottleneckError(
            f"no {file}, which says how a run judges each image; fit the head again with: bottleneck fit-head"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise BottleneckError(
            f"{file} is damaged ({error}); fit the head again with: bottleneck fit-head"
        ) from error
    paths, labels, splits = (tuple(line[place] for line in lines) for place in range(3))
    return Predictions(paths, labels, splits, probabilities)
