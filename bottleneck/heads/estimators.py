"""Heads that are scikit-learn classifiers, with what scales their features."""

import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from bottleneck.errors import BottleneckError
from bottleneck.heads.contract import Estimator, Sample
from bottleneck.heads.params import read_value, refuse_unknown
from bottleneck.heads.scaling import scale_in_place

_log = logging.getLogger("bottleneck")

FILE_NAME = "head.skops"

SCALERS: dict[str, tuple[type[Any], ...]] = {
    "standard": (StandardScaler,),
    "unit": (StandardScaler, Normalizer),
    "none": (),
}

# What scikit-learn's classifiers consist of besides numbers, text and other estimators, which skops
# itself knows as harmless. Whatever else is in a file is refused unread.
TRUSTED = [
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance32",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
]


@dataclass(frozen=True)
class Fitted:
    """A fitted scikit-learn pipeline: what scales features, and the classifier.

    Attributes
    ----------
    pipeline : Pipeline
    chosen : dict
        What was chosen while fitting.
    """

    pipeline: Any
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Number of features, as a shape."""
        return (int(self.pipeline.n_features_in_),)

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Probabilities, shape (n, classes), of features; maps are flattened."""
        return np.asarray(self.pipeline.predict_proba(X.reshape(len(X), -1)), np.float32)

    def save(self, folder: Path, /) -> None:
        """Write ``head.skops``: the pipeline, as ``skops.io.load`` reads it.

        Raises
        ------
        BottleneckError
            It holds something that could not be loaded again without trusting code.
        """
        content = skops.io.dumps(self.pipeline)
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
        if unknown:
            raise BottleneckError(
                f"this head consists of {', '.join(unknown)}, which could not be loaded again without "
                "trusting code; take a classifier that is scikit-learn's own, or other values with --param"
            )
        (folder / FILE_NAME).write_bytes(content)


@dataclass(frozen=True)
class EstimatorHead:
    """What stands for a module where a head is an estimator as it is.

    Attributes
    ----------
    name : str
        What the user calls it.
    spec : Estimator
    """

    name: str
    spec: Estimator

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Add an estimator's defaults to parameters given, after having it check them.

        Raises
        ------
        BottleneckError
            Its path leads to no classifier, or it has no such parameter, or not such a value.

        Examples
        --------
        >>> knn = Estimator("sklearn.neighbors.KNeighborsClassifier", "unit")
        >>> EstimatorHead("knn", knn).complete({"n_neighbors": "3"})["n_neighbors"]
        3
        """
        estimator = find_classifier(self.name, self.spec.path)(**self.spec.params)
        known = [name for name in estimator.get_params(deep=False) if name != "random_state"]
        for name, value in given.items():
            refuse_unknown(self.name, name, known)
            estimator.set_params(**{name: read_value(value)})
            try:
                # scikit-learn's own; classes from elsewhere need not have it
                getattr(estimator, "_validate_params", lambda: None)()
            except InvalidParameterError as error:
                raise BottleneckError(f"head {self.name}: {_line(error)}") from error
        complete = {name: estimator.get_params(deep=False)[name] for name in known}
        # what the run could not record cannot be repeated either
        return {name: value for name, value in complete.items() if _is_recordable(value)}

    def fit(
        self,
        train: Sample,
        val: Sample,
        classes: int,
        seed: int,
        params: Mapping[str, Any],
    ) -> Fitted:
        """Fit a classifier on scaled features.

        One that gives no probabilities of its own, or poor ones, has its values made into some on the
        validation split, by one temperature for all classes, which leaves the order of the classes as it is.

        Parameters
        ----------
        train, val : Sample
            Overwritten with scaled features.
        classes : int
            Each occurs in `train`.
        seed : int
            Where the estimator takes a ``random_state``.
        params : dict
            As `complete` gives them.

        Raises
        ------
        BottleneckError
            It cannot be fitted on these features; the message is the estimator's own.

        Notes
        -----
        Temperature scaling: Guo et al. 2017, On Calibration of Modern Neural Networks.
        """
        train, val = train.flat(), val.flat()
        scalers = [scaler() for scaler in SCALERS[self.spec.scale]]
        estimator = find_classifier(self.name, self.spec.path)(**params)
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=seed)
        scale_in_place(scalers, train, val)
        with _clear_words(self.name):
            estimator.fit(train.X, train.y)
            if self.spec.calibrated or not hasattr(estimator, "predict_proba"):
                estimator = _calibrate(estimator, _with_every_class(val, train, classes))
            estimator.predict_proba(val.X[:1])  # what neighbours lack shows only now
        return Fitted(make_pipeline(*scalers, estimator))

    def load(self, folder: Path) -> Fitted:
        """Read ``head.skops``, see `load`."""
        return load(folder)


def load(folder: Path) -> Fitted:
    """Read ``head.skops``; nothing but what such heads consist of is ever built from it.

    Raises
    ------
    BottleneckError
        It is missing or damaged, or holds anything else.
    """
    file = folder / FILE_NAME
    try:
        pipeline = skops.io.load(file, trusted=TRUSTED)
        if not isinstance(pipeline, Pipeline) or not is_classifier(pipeline):
            raise TypeError(f"it is {type(pipeline).__name__} and no pipeline that classifies")  # noqa: TRY301
        _refuse_infinite(pipeline)
        return Fitted(pipeline)
    except Exception as error:  # zipfile, json and skops raise what they like on foreign files
        raise BottleneckError(
            f"{file} is not a head that can be trusted and read ({_line(error)}); "
            "fit it again with: bottleneck fit-head"
        ) from error


def _refuse_infinite(pipeline: Pipeline) -> None:
    for name, step in pipeline.steps:
        for attribute, value in vars(step).items():
            is_number = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            if is_number and not np.isfinite(value).all():
                raise ValueError(f"{attribute} of its {name} holds NaN or infinity")


def find_classifier(head: str, path: str) -> Any:
    """Import the class a dotted path leads to.

    Raises
    ------
    BottleneckError
        It leads nowhere, or to something that is no classifier as scikit-learn has them.

    Examples
    --------
    >>> find_classifier("mlp", "sklearn.neural_network.MLPClassifier").__name__
    'MLPClassifier'
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BottleneckError(
            f"head {head!r} leads to no class ({_line(error)}); give a path such as "
            "sklearn.neural_network.MLPClassifier, or a name that bottleneck fit-head --help lists"
        ) from error
    methods = ("fit", "predict", "get_params", "set_params")
    if not inspect.isclass(found) or not all(hasattr(found, method) for method in methods):
        raise BottleneckError(
            f"head {head!r} is no classifier as scikit-learn has them, a class with {', '.join(methods)}; "
            "give a path such as sklearn.neural_network.MLPClassifier"
        )
    needed = [
        parameter.name
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise BottleneckError(
            f"head {head!r} cannot be made without {', '.join(needed)}, which no --param can give; "
            "give a class that needs nothing, such as sklearn.neural_network.MLPClassifier"
        )
    if not is_classifier(found()):
        raise BottleneckError(
            f"head {head!r} is no classifier, though an estimator; "
            "give a class such as sklearn.neural_network.MLPClassifier"
        )
    return found


def _calibrate(estimator: Any, sample: Sample) -> Any:
    everything = np.arange(len(sample.y))
    # the estimator is fitted already: one fold, in which every row has its part in the calibration
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(estimator), method="temperature", cv=[(everything, everything)]
    ).fit(sample.X, sample.y)
    return calibrated.set_params(cv=None)  # rows of no use to anybody who loads it


def _with_every_class(val: Sample, train: Sample, classes: int) -> Sample:
    """Let one training image stand in for each class that the validation split lacks."""
    lacking = np.setdiff1d(np.arange(classes), val.y)
    rows = [int(np.flatnonzero(train.y == code)[0]) for code in lacking]
    return Sample(np.concatenate([val.X, train.X[rows]]), np.concatenate([val.y, train.y[rows]]))


@contextmanager
def _clear_words(head: str) -> Iterator[None]:
    """Make one line of each warning and error of an estimator."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except Exception as error:  # estimators raise what they like
            raise BottleneckError(
                f"head {head} cannot be fitted on these features: {_line(error)}"
            ) from error
    for line in dict.fromkeys(_line(warning.message) for warning in caught):
        _log.warning("head %s: %s", head, line)


def _line(error: BaseException | str) -> str:
    return " ".join(str(error).split())[:300]


def _is_recordable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
