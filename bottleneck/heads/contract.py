"""What the heads, their registry and the scaling of features share: samples, heads, estimators."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """Features and labels for fitting a head.

    Attributes
    ----------
    X : ndarray of float32, shape (n, d) or, of maps, (n, height, width, channels)
        The head may overwrite it. Features that do not fit into memory are mapped from a file: read
        them in slices.
    y : ndarray of int64, shape (n,)
        Class numbers, from 0. Each occurs in the training sample.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]

    def flat(self) -> "Sample":
        """Flatten each map to a vector; the data are shared, not copied."""
        return Sample(self.X.reshape(len(self.X), -1), self.y)


class Head(Protocol):
    """A fitted classifier."""

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Values chosen during fitting, which the run records."""
        ...

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Predict class probabilities, shape (n, classes).

        The features have the shape of the training features, and n is some thousands. Heads on vectors
        flatten maps.
        """
        ...

    def save(self, folder: Path, /) -> None:
        """Write the head to files in a folder."""
        ...


class LoadedHead(Head, Protocol):
    """A classifier that states the shape of its features, as all heads of the registry do."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features; heads on vectors flatten maps."""
        ...


class HeadModule(Protocol):
    """A module that implements heads, or an object in its place."""

    def fit(
        self, train: Sample, val: Sample, classes: int, seed: int, params: Mapping[str, Any], /
    ) -> LoadedHead:
        """Fit on `train`; use `val` for every choice made during fitting."""
        ...

    def load(self, folder: Path, /) -> LoadedHead:
        """Read what `Head.save` wrote, without running code from it."""
        ...


@dataclass(frozen=True)
class Estimator:
    """A scikit-learn classifier as a head.

    Attributes
    ----------
    path : str
        Dotted path of the class.
    scale : {"standard", "unit", "none"}
        Scaling of the features, saved with the head. ``standard``: each feature to mean 0 and variance 1;
        ``unit``: the same, then each image to length 1.
    params : dict
        Defaults that differ from those of the class.
    calibrated : bool
        Whether to calibrate its probabilities, because they are overconfident: the classifier assumes
        normal or independent features. Classifiers without probabilities are always calibrated.
    """

    path: str
    scale: Literal["standard", "unit", "none"]
    params: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False
