"""Fit heads and predict the images they are scored on."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import Costs, Entry
from bottleneck.evaluate.feature_sets import FeatureSet
from bottleneck.evaluate.settings import Settings
from bottleneck.extraction.cluster import connect, joblib_on
from bottleneck.heads.contract import Head
from bottleneck.heads.data import LabelledFeatures, read_samples
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.registry import HeadKind, complete_params
from bottleneck.heads.scaling import slices
from bottleneck.remote import is_url


@dataclass(frozen=True)
class Scored:
    """An entry of a comparison and its predictions.

    Attributes
    ----------
    entry : Entry
    features : FeatureSet
        What the head was fitted on. For a saved run, the features shown in its map.
    kind : HeadKind or None
        None for a saved run.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        By split; empty if the head failed.
    """

    entry: Entry
    features: FeatureSet
    kind: HeadKind | None
    probabilities: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def score_heads(
    combinations: Sequence[tuple[FeatureSet, HeadKind]], settings: Settings, cluster: str | None
) -> Iterator[Scored]:
    """Fit heads on feature sets and predict, locally or on a cluster, in the order given.

    A head that fails is an entry with a reason.
    """
    if cluster is None:
        for features, kind in combinations:
            yield _score_head(features, kind, settings)
        return
    from joblib import Parallel, delayed

    with connect(cluster) as workers, contextlib.ExitStack() as stack:
        shared = {features.cache: full_path(features.cache) for features, _ in combinations}
        for cache in sorted(shared.values()):
            stack.enter_context(joblib_on(workers, cache))
        found = Parallel(n_jobs=-1, return_as="generator")(
            # opened shards are not sent
            delayed(_score_on_worker)(features.without_data(shared[features.cache]), kind, settings)
            for features, kind in combinations
        )
        for (features, kind), (entry, probabilities) in zip(combinations, found, strict=True):
            yield Scored(replace(entry, cache=features.cache), features, kind, probabilities)


def full_path(path: str | os.PathLike[str]) -> str:
    """Make a path absolute; a URL stays as it is."""
    return str(path if is_url(path) else Path(path).absolute())


def _score_on_worker(
    features: FeatureSet, kind: HeadKind, settings: Settings
) -> tuple[Entry, Mapping[str, NDArray[np.float32]]]:
    scored = _score_head(features.with_data(settings.split), kind, settings)
    return scored.entry, scored.probabilities


def _score_head(features: FeatureSet, kind: HeadKind, settings: Settings) -> Scored:
    entry = Entry(
        name=f"{kind.name} on {features.name}" if features.name else kind.name,
        head=kind.name,
        cache=features.cache,
        recipes=tuple(recipe.id for recipe in features.recipes),
        params={},
        scores={},
        costs=None,
        reason=features.reason,
    )
    if features.data is None:
        return Scored(entry, features, kind)
    params = complete_params(kind, {})
    try:
        head, seconds = fit(features.data, kind, params, settings)
        probabilities, microseconds = _predict(head, features.data)
        costs = Costs(round(seconds, 3), microseconds, _size(head))
    except Exception as error:
        # whatever it is, the other heads can still be compared
        failed = replace(entry, params=params, reason=describe_failure(error))
        return Scored(failed, features, kind)
    entry = replace(entry, params={**params, "chosen": dict(head.chosen)}, costs=costs)
    return Scored(entry, features, kind, probabilities)


def fit(
    data: LabelledFeatures, kind: HeadKind, params: Mapping[str, Any], settings: Settings
) -> tuple[Head, float]:
    """Fit a head, and return it with the seconds that took."""
    kind.check_shape(data.shape)
    with (
        tempfile.TemporaryDirectory(prefix="bottleneck-") as folder,
        read_samples(kind, data, settings.memory, Path(folder)) as (train, val),
    ):
        start = time.perf_counter()
        head = kind.fit(train, val, len(data.classes), settings.seed, params)
        return head, time.perf_counter() - start


def describe_failure(error: Exception) -> str:
    """Say in one line why a head failed; the type is given where the error was not foreseen."""
    said = " ".join(str(error).split())
    return (
        said if isinstance(error, BottleneckError) else f"unexpected {type(error).__name__}: {said}"
    )


def _predict(head: Head, data: LabelledFeatures) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Predict all images but those of the training split, and measure the µs for each."""
    scored = {name: rows for name, rows in data.slices.items() if name != "train"}
    first = min(rows.start for rows in scored.values())
    measured = data.plain.take(np.arange(first, len(data.rows)))
    # once without timing: Keras compiles a function for each number of images
    warm_up = np.arange(len(measured.rows))[next(slices(len(measured.rows), measured.shape))]
    mean_probabilities(head, [measured.take(warm_up)], len(data.classes))
    timed = _Timed(head)
    probabilities = mean_probabilities(timed, [measured], len(data.classes))
    if not np.isfinite(probabilities).all():
        raise BottleneckError("its probabilities are not all finite numbers")
    return (
        {
            name: probabilities[rows.start - first : rows.stop - first]
            for name, rows in scored.items()
        },
        round(1e6 * timed.seconds / len(measured.rows), 2),
    )


class _Timed:
    """A head that measures the time its predictions take."""

    def __init__(self, head: Head) -> None:
        self.head, self.seconds = head, 0.0

    @property
    def chosen(self) -> Mapping[str, Any]:
        return self.head.chosen

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        start = time.perf_counter()
        probabilities = self.head.predict_proba(X)
        self.seconds += time.perf_counter() - start
        return probabilities

    def save(self, folder: Path, /) -> None:
        self.head.save(folder)


def _size(head: Head) -> int:
    """Size of the head's files, in bytes."""
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        head.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
