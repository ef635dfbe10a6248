"""The heads there are: to add one is to add a module and its entry here."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError


@dataclass(frozen=True)
class Sample:
    """Features and labels a head is fitted on.

    Attributes
    ----------
    X : ndarray of float32, shape (n, d)
        Belongs to the head that is given it, which may overwrite it. Where it does not fit into
        memory it is mapped from a file: go through it in slices.
    y : ndarray of int64, shape (n,)
        Classes, from 0.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]


class Head(Protocol):
    """A fitted classifier."""

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What was chosen while fitting, for the run to record."""
        ...

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Probabilities, shape (n, classes), of features, shape (n, d); n is some thousands."""
        ...

    def save(self, folder: Path, /) -> None:
        """Write it to files in a folder."""
        ...


class HeadModule(Protocol):
    """What a head's module holds."""

    def fit(
        self, train: Sample, val: Sample, classes: int, seed: int, params: Mapping[str, Any]
    ) -> Head:
        """Fit on `train`; whatever is chosen is chosen on `val`."""
        ...

    def load(self, folder: Path) -> Head:
        """Read what `Head.save` wrote, never running code from it."""
        ...


@dataclass(frozen=True)
class HeadKind:
    """What must be known of a head to offer it.

    Attributes
    ----------
    name : str
        What the user calls it.
    summary : str
        What it is, in a line.
    module : str
        Imported when it is used and not before: some need TensorFlow.
    params : dict
        Its parameters with their defaults.
    """

    name: str
    summary: str
    module: str
    params: Mapping[str, Any]

    def load_module(self) -> HeadModule:
        """Import the module."""
        return cast(HeadModule, import_module(self.module))


HEADS = {
    kind.name: kind
    for kind in [
        HeadKind(
            name="logistic",
            summary="multinomial logistic regression on standardised features (scikit-learn)",
            module="bottleneck.heads.logistic",
            params={"C": None, "max_iter": 100},
        ),
        HeadKind(
            name="softmax",
            summary="one dense layer, trained by Adam with early stopping (Keras)",
            module="bottleneck.heads.softmax",
            params={"learning_rate": 1e-3, "batch_size": 64, "epochs": 100, "patience": 8},
        ),
    ]
}


def find_head(name: str) -> HeadKind:
    """Look a head up by name.

    Raises
    ------
    BottleneckError
        There is no such head; the message names those there are.
    """
    if name not in HEADS:
        near = difflib.get_close_matches(name, HEADS, n=2)
        guess = f"; did you mean {' or '.join(near)}?" if near else "."
        raise BottleneckError(
            f"unknown head {name!r}{guess} Give one with --head: {', '.join(HEADS)}"
        )
    return HEADS[name]


def complete_params(kind: HeadKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults to parameters given, after checking them.

    Raises
    ------
    BottleneckError
        The head has no such parameter, or the value is not a positive number.

    Examples
    --------
    >>> complete_params(HEADS["logistic"], {"C": "0.5"})
    {'C': 0.5, 'max_iter': 100}
    """
    params = dict(kind.params)
    for name, value in given.items():
        if name not in kind.params:
            raise BottleneckError(
                f"head {kind.name} has no parameter {name!r}; it has: {', '.join(kind.params)}"
            )
        params[name] = _number(kind, name, value)
    return params


def _number(kind: HeadKind, name: str, value: Any) -> float | int:
    whole = isinstance(kind.params[name], int)
    try:
        number = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    kinds = int if whole else (int, float)
    if isinstance(number, kinds) and number is not True and 0 < number < math.inf:
        return number
    expected = "a whole number above 0" if whole else "a number above 0"
    raise BottleneckError(f"parameter {name} of head {kind.name} takes {expected}, not {value!r}")
