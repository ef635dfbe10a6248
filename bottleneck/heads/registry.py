"""Registry of heads: to add one, add an entry here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from bottleneck.errors import BottleneckError
from bottleneck.heads.contract import Estimator, HeadModule, LoadedHead, Sample
from bottleneck.heads.loaded import check_loaded
from bottleneck.heads.params import CLASS_WEIGHT, Param, complete, flag, positive, share, whole
from bottleneck.heads.params import widths as layers


@dataclass(frozen=True)
class HeadKind:
    """An entry of the registry: a head that users can choose.

    Attributes
    ----------
    name : str
        Name on the command line.
    summary : str
        Description, in one line.
    module : str
        Module that implements it, imported on first use: some need TensorFlow. Estimators share one.
    params : dict of Param
        Parameters of heads other than estimators.
    estimator : Estimator, optional
        The scikit-learn classifier, for heads that are one.
    maps : bool
        Whether it needs maps rather than vectors.
    streams : bool
        Whether it reads features in slices and never holds all of them in memory.
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
    ) -> LoadedHead:
        """Fit on `train`; use `val` for every choice made during fitting.

        Parameters
        ----------
        train, val : Sample
            Overwritten.
        classes : int
            Number of classes. Each occurs in `train`.
        seed : int
            Random seed.
        params : dict
            As `complete_params` returns them.

        Raises
        ------
        BottleneckError
            If it cannot be fitted on these features.
        """
        self.check_shape(train.X.shape[1:])
        return self._load_module().fit(train, val, classes, seed, params)

    def load(self, folder: Path, classes: int | None = None) -> LoadedHead:
        """Read what `Head.save` wrote, without running code from it.

        Parameters
        ----------
        folder : Path
        classes : int, optional
            Number of classes of the run. If given, one prediction is made to check the head.

        Raises
        ------
        BottleneckError
            If the file is missing, damaged, of another kind of head, or gives no probabilities of so many classes.
        """
        head = self._load_module().load(folder)
        if classes is not None:
            check_loaded(head, folder, classes)
        return head

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise an error for features of a shape that the head cannot use.

        Raises
        ------
        BottleneckError
            If the head needs maps and the features are vectors.
        """
        if self.maps and len(shape) != 3:
            raise BottleneckError(
                f"head {self.name} takes maps, height × width × channels, but these features are vectors of "
                f"{int(np.prod(shape)):,}; extract maps with: bottleneck extract --pool none"
            )

    def _load_module(self) -> HeadModule:
        if self.estimator is None:
            return cast(HeadModule, import_module(self.module))
        from bottleneck.heads.estimators import EstimatorHead

        return EstimatorHead(self.name, self.estimator)


# Parameters of all heads trained by gradient descent.
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
            summary="logistic regression, regularisation chosen on the validation split",
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
            # feature vectors of length 1, as in Razavian et al. 2014, CNN Features off-the-shelf
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
    """Find a head by its name, or make one from the dotted path of a scikit-learn classifier.

    Nothing is imported yet: a path is imported when its head is fitted.

    Raises
    ------
    BottleneckError
        If there is no such head. The message lists all heads.

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
        f"unknown head {name!r}{guess} Give one with --head: {', '.join(HEADS)}, or the dotted path of "
        "a scikit-learn classifier"
    )


def complete_params(kind: HeadKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given parameters and add the defaults of the others.

    Parameters
    ----------
    kind : HeadKind
    given : dict
        Values, or text that is parsed as a value.

    Raises
    ------
    BottleneckError
        If the head has no such parameter, a value is not valid, or a dotted path is not that of a
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
