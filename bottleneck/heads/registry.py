"""The heads there are: to add one is to add an entry here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError
from bottleneck.heads.params import CLASS_WEIGHT, Param, complete, flag, positive, share, whole
from bottleneck.heads.params import widths as layers


@dataclass(frozen=True)
class Sample:
    """Features and labels a head is fitted on.

    Attributes
    ----------
    X : ndarray of float32, shape (n, d) or, of maps, (n, height, width, channels)
        Belongs to the head that is given it, which may overwrite it. Where it does not fit into
        memory it is mapped from a file: go through it in slices.
    y : ndarray of int64, shape (n,)
        Classes, from 0. In the training sample each occurs.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]

    def flat(self) -> "Sample":
        """The same with each map as a vector; the numbers are shared."""
        return Sample(self.X.reshape(len(self.X), -1), self.y)


class Head(Protocol):
    """A fitted classifier."""

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What was chosen while fitting, for the run to record."""
        ...

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Probabilities, shape (n, classes), of features shaped as those it was fitted on.

        n is some thousands. Heads on vectors flatten maps.
        """
        ...

    def save(self, folder: Path, /) -> None:
        """Write it to files in a folder."""
        ...


class HeadModule(Protocol):
    """What a module of heads holds, or whatever stands for one."""

    def fit(
        self, train: Sample, val: Sample, classes: int, seed: int, params: Mapping[str, Any], /
    ) -> Head:
        """Fit on `train`; whatever is chosen is chosen on `val`."""
        ...

    def load(self, folder: Path, /) -> Head:
        """Read what `Head.save` wrote, never running code from it."""
        ...


@dataclass(frozen=True)
class Estimator:
    """A scikit-learn classifier as a head.

    Attributes
    ----------
    path : str
        Where its class is.
    scale : {"standard", "unit", "none"}
        What features go through first, and take along: each to mean 0 and variance 1; after that each
        image to length 1; or nothing.
    params : dict
        In place of the class's own defaults.
    calibrated : bool
        Its probabilities are far too sure, for it takes features for normal or independent: they are
        calibrated. So are heads that have none.
    """

    path: str
    scale: Literal["standard", "unit", "none"]
    params: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False


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
        Imported when it is used and not before: some need TensorFlow. Estimators share one.
    params : dict of Param
        Its parameters, where they are not those of an estimator.
    estimator : Estimator, optional
        Of heads that are scikit-learn classifiers as they are.
    maps : bool
        It takes maps, and no vectors.
    streams : bool
        It goes through features in slices and never holds them all in memory.
    """

    name: str
    summary: str
    module: str = ""
    params: Mapping[str, Param] = field(default_factory=dict)
    estimator: Estimator | None = None
    maps: bool = False
    streams: bool = False

    def fit(
        self, train: Sample, val: Sample, classes: int, seed: int, params: Mapping[str, Any]
    ) -> Head:
        """Fit on `train`; whatever is chosen is chosen on `val`.

        Parameters
        ----------
        train, val : Sample
            Overwritten.
        classes : int
            Each occurs in `train`.
        seed : int
            Of all that is random.
        params : dict
            As `complete_params` gives them.

        Raises
        ------
        BottleneckError
            It cannot be fitted on these.
        """
        self.refuse_shape(train.X.shape[1:])
        return self._load_module().fit(train, val, classes, seed, params)

    def load(self, folder: Path) -> Head:
        """Read what `Head.save` wrote, never running code from it.

        Raises
        ------
        BottleneckError
            It is missing or damaged, or is no such head.
        """
        return self._load_module().load(folder)

    def refuse_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse features of a shape it cannot take.

        Raises
        ------
        BottleneckError
            It takes maps, and they are vectors.
        """
        if self.maps and len(shape) != 3:
            raise BottleneckError(
                f"head {self.name} takes maps, height × width × channels, and these features are vectors of "
                f"{int(np.prod(shape)):,}; keep maps with: bottleneck extract --pool none"
            )

    def _load_module(self) -> HeadModule:
        if self.estimator is None:
            return cast(HeadModule, import_module(self.module))
        from bottleneck.heads.estimators import EstimatorHead

        return EstimatorHead(self.name, self.estimator)


# What all heads trained by gradient descent take.
_TRAINING = {
    "learning_rate": positive(1e-3),  # Adam's own default (Kingma and Ba 2015)
    "batch_size": whole(None),
    "epochs": whole(50),
    "patience": whole(8),
    "label_smoothing": share(0.0),
    "weight_decay": share(0.0),
    "class_weight": CLASS_WEIGHT,
}
_HIDDEN = {"dropout": share(0.3), "batch_norm": flag(False)}

HEADS = {
    kind.name: kind
    for kind in [
        HeadKind(
            name="logistic",
            summary="logistic regression, its regularisation chosen on the validation split",
            module="bottleneck.heads.logistic",
            params={"C": positive(None), "max_iter": whole(100), "class_weight": CLASS_WEIGHT},
            streams=True,
        ),
        HeadKind(
            name="softmax",
            summary="logistic regression by gradient descent, one dense layer (Keras)",
            module="bottleneck.heads.networks",
            params=_TRAINING,
            streams=True,
        ),
        HeadKind(
            name="dense",
            summary="hidden layers (Keras)",
            module="bottleneck.heads.networks",
            params={"hidden": layers(512), **_HIDDEN, **_TRAINING},
            streams=True,
        ),
        HeadKind(
            name="conv",
            summary="convolutions over maps, averaged, then hidden layers (Keras)",
            module="bottleneck.heads.networks",
            params={
                "filters": layers(128),
                "kernel": whole(3),
                "hidden": layers(1024),
                **_HIDDEN,
                **_TRAINING,
            },
            maps=True,
            streams=True,
        ),
        HeadKind(
            name="sgd",
            summary="logistic regression by stochastic gradient descent, one class against the rest",
            module="bottleneck.heads.sgd",
            params={
                "alpha": positive(1e-4),
                "batch_size": whole(1024),
                "epochs": whole(50),
                "patience": whole(3),
                "class_weight": CLASS_WEIGHT,
            },
            streams=True,
        ),
        HeadKind(
            name="ridge",
            summary="least squares on ±1",
            estimator=Estimator("sklearn.linear_model.RidgeClassifier", "standard"),
        ),
        HeadKind(
            name="svm",
            summary="linear support vector machine",
            # on images of length 1, as in Razavian et al. 2014, CNN Features off-the-shelf
            estimator=Estimator("sklearn.svm.LinearSVC", "unit", {"dual": "auto"}),
        ),
        HeadKind(
            name="rbf",
            summary="support vector machine with a Gaussian kernel",
            estimator=Estimator("sklearn.svm.SVC", "standard"),
        ),
        HeadKind(
            name="knn",
            summary="nearest neighbours by angle",
            estimator=Estimator(
                "sklearn.neighbors.KNeighborsClassifier",
                "unit",
                # in thousands of dimensions trees only cost time
                {"weights": "distance", "algorithm": "brute", "n_jobs": -1},
            ),
        ),
        HeadKind(
            name="centroid",
            summary="nearest class mean",
            estimator=Estimator("sklearn.neighbors.NearestCentroid", "standard", calibrated=True),
        ),
        HeadKind(
            name="lda",
            summary="linear discriminant analysis",
            # with fewer images than features the covariance has to be shrunk (Ledoit and Wolf 2004)
            estimator=Estimator(
                "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
                "standard",
                {"solver": "lsqr", "shrinkage": "auto"},
                calibrated=True,
            ),
        ),
        HeadKind(
            name="bayes",
            summary="naive Bayes, each feature normal within a class",
            estimator=Estimator("sklearn.naive_bayes.GaussianNB", "standard", calibrated=True),
        ),
        HeadKind(
            name="forest",
            summary="random forest",
            estimator=Estimator("sklearn.ensemble.RandomForestClassifier", "none", {"n_jobs": -1}),
        ),
        HeadKind(
            name="extra-trees",
            summary="extremely randomised trees",
            estimator=Estimator("sklearn.ensemble.ExtraTreesClassifier", "none", {"n_jobs": -1}),
        ),
        HeadKind(
            name="boosting",
            summary="gradient boosting on histograms",
            estimator=Estimator("sklearn.ensemble.HistGradientBoostingClassifier", "none"),
        ),
    ]
}


def find_head(name: str) -> HeadKind:
    """Look a head up by name, or make one of a scikit-learn classifier named by its dotted path.

    Nothing is imported yet: a path is looked up when a head is to be fitted.

    Raises
    ------
    BottleneckError
        There is no such head; the message names those there are.

    Examples
    --------
    >>> find_head("dense").summary
    'hidden layers (Keras)'
    >>> find_head("sklearn.neural_network.MLPClassifier").estimator.scale
    'standard'
    """
    if name in HEADS:
        return HEADS[name]
    if "." in name:
        return HeadKind(name, "scikit-learn classifier", estimator=Estimator(name, "standard"))
    near = difflib.get_close_matches(name, HEADS, n=2)
    guess = f"; did you mean {' or '.join(near)}?" if near else "."
    raise BottleneckError(
        f"unknown head {name!r}{guess} Give one with --head: {', '.join(HEADS)}, or a scikit-learn "
        "classifier by its dotted path"
    )


def complete_params(kind: HeadKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults to parameters given, after checking them.

    Parameters
    ----------
    kind : HeadKind
    given : dict
        Values, or text that is read as a value.

    Raises
    ------
    BottleneckError
        The head has no such parameter, the value is not what it takes, or a dotted path leads to no
        classifier.

    Examples
    --------
    >>> complete_params(HEADS["logistic"], {"C": "0.5"})
    {'C': 0.5, 'max_iter': 100, 'class_weight': None}
    """
    if kind.estimator is None:
        return complete(kind.name, kind.params, given)
    from bottleneck.heads.estimators import EstimatorHead

    return EstimatorHead(kind.name, kind.estimator).complete(given)
