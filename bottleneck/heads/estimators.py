"""Heads that are scikit-learn classifiers, with the scaling of their features."""

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
from bottleneck.heads.params import check_name, read_value
from bottleneck.heads.scaling import scale_in_place

_log = logging.getLogger("bottleneck")

FILE_NAME = "head.skops"

SCALERS: dict[str, tuple[type[Any], ...]] = {
    "standard": (StandardScaler,),
    "unit": (StandardScaler, Normalizer),
    "none": (),
}

# Types in scikit-learn's classifiers besides those that skops trusts by itself (numbers, text, other
# estimators). A file with any other type is refused before it is loaded.
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
    """A fitted scikit-learn pipeline: scalers and the classifier.

    Attributes
    ----------
    pipeline : Pipeline
    chosen : dict
        Values chosen during fitting.
    """

    pipeline: Any
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Number of features, as a shape."""
        return (int(self.pipeline.n_features_in_),)

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Predict class probabilities, shape (n, classes); maps are flattened."""
        return np.asarray(self.pipeline.predict_proba(X.reshape(len(X), -1)), np.float32)

    def save(self, folder: Path, /) -> None:
        """Write ``head.skops``: the pipeline, as ``skops.io.load`` reads it.

        Raises
        ------
        BottleneckError
            If it contains a type that could not be loaded again without trusting code.
        """
        content = skops.io.dumps(self.pipeline)
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
        if unknown:
            raise BottleneckError(
                f"this head contains {', '.join(unknown)}, which could not be loaded again without "
                "trusting code; use a classifier of scikit-learn itself, or other values with --param"
            )
        (folder / FILE_NAME).write_bytes(content)


@dataclass(frozen=True)
class EstimatorHead:
    """A scikit-learn classifier that implements `HeadModule`.

    Attributes
    ----------
    name : str
        Name on the command line.
    spec : Estimator
    """

    name: str
    spec: Estimator

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Check the given parameters and add the estimator's defaults of the others.

        Raises
        ------
        BottleneckError
            If the path is not that of a classifier, or a parameter or its value is not valid.

        Examples
        --------
        >>> knn = Estimator("sklearn.neighbors.KNeighborsClassifier", "unit")
        >>> EstimatorHead("knn", knn).complete({"n_neighbors": "3"})["n_neighbors"]
        3
        """
        estimator = find_classifier(self.name, self.spec.path)(**self.spec.params)
        known = [name for name in estimator.get_params(deep=False) if name != "random_state"]
        for name, value in given.items():
            check_name(self.name, name, known)
            estimator.set_params(**{name: read_value(value)})
            try:
                # part of scikit-learn's classes; others need not have it
                getattr(estimator, "_validate_params", lambda: None)()
            except InvalidParameterError as error:
                raise BottleneckError(f"head {self.name}: {_line(error)}") from error
        complete = {name: estimator.get_params(deep=False)[name] for name in known}
        # only values that the run can record
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

        If the classifier has no probabilities, or poor ones, its decision values are calibrated on the
        validation split with one temperature for all classes, which keeps the order of the classes.

        Parameters
        ----------
        train, val : Sample
            Overwritten with scaled features.
        classes : int
            Number of classes. Each occurs in `train`.
        seed : int
            The ``random_state`` of estimators that have one.
        params : dict
            As `complete` returns them.

        Raises
        ------
        BottleneckError
            If it cannot be fitted on these features. The message is that of the estimator.

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
        with _one_line_messages(self.name):
            estimator.fit(train.X, train.y)
            if self.spec.calibrated or not hasattr(estimator, "predict_proba"):
                estimator = _calibrate(estimator, _with_every_class(val, train, classes))
            estimator.predict_proba(val.X[:1])  # too few neighbours raise an error only here
        return Fitted(make_pipeline(*scalers, estimator))

    def load(self, folder: Path) -> Fitted:
        """Read ``head.skops``, see `load`."""
        return load(folder)


def load(folder: Path) -> Fitted:
    """Read ``head.skops``, and build only the types that such heads consist of.

    Raises
    ------
    BottleneckError
        If it is missing, damaged, or contains any other type.
    """
    file = folder / FILE_NAME
    try:
        pipeline = skops.io.load(file, trusted=TRUSTED)
        if not isinstance(pipeline, Pipeline) or not is_classifier(pipeline):
            raise TypeError(f"expected a classifier pipeline, found {type(pipeline).__name__}")  # noqa: TRY301
        _check_finite(pipeline)
        return Fitted(pipeline)
    except Exception as error:  # zipfile, json and skops raise many types on foreign files
        raise BottleneckError(
            f"{file} is not a head that can be trusted and read ({_line(error)}); "
            "fit it again with: bottleneck fit-head"
        ) from error


def _check_finite(pipeline: Pipeline) -> None:
    """Raise an error if a step of the pipeline holds NaN or infinite numbers."""
    for name, step in pipeline.steps:
        for attribute, value in vars(step).items():
            is_number = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            if is_number and not np.isfinite(value).all():
                raise ValueError(f"{attribute} of its {name} holds NaN or infinity")


def find_classifier(head: str, path: str) -> Any:
    """Import the classifier at a dotted path.

    Raises
    ------
    BottleneckError
        If there is no such class, or it is not a scikit-learn classifier.

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
            f"there is no class at the path of head {head!r} ({_line(error)}); give a path such as "
            "sklearn.neural_network.MLPClassifier, or a name that bottleneck fit-head --help lists"
        ) from error
    methods = ("fit", "predict", "get_params", "set_params")
    if not inspect.isclass(found) or not all(hasattr(found, method) for method in methods):
        raise BottleneckError(
            f"head {head!r} is not a scikit-learn classifier, which is a class with {', '.join(methods)}; "
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
            f"head {head!r} needs the arguments {', '.join(needed)}, which --param cannot set; "
            "give a class without required arguments, such as sklearn.neural_network.MLPClassifier"
        )
    if not is_classifier(found()):
        raise BottleneckError(
            f"head {head!r} is an estimator but not a classifier; "
            "give a class such as sklearn.neural_network.MLPClassifier"
        )
    return found


def _calibrate(estimator: Any, sample: Sample) -> Any:
    everything = np.arange(len(sample.y))
    # the estimator is already fitted: one fold, with every row used for calibration
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(estimator), method="temperature", cv=[(everything, everything)]
    ).fit(sample.X, sample.y)
    return calibrated.set_params(cv=None)  # the row numbers are useless in a saved head


def _with_every_class(val: Sample, train: Sample, classes: int) -> Sample:
    """Add one training image for each class that is missing from the validation split."""
    missing = np.setdiff1d(np.arange(classes), val.y)
    rows = [int(np.flatnonzero(train.y == code)[0]) for code in missing]
    return Sample(np.concatenate([val.X, train.X[rows]]), np.concatenate([val.y, train.y[rows]]))


@contextmanager
def _one_line_messages(head: str) -> Iterator[None]:
    """Turn each warning and error of an estimator into one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except Exception as error:  # estimators may raise any type
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
