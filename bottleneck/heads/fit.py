"""`bottleneck fit-head`: fit a head on cached features and write a run."""

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import Recipe, RecipeFile
from bottleneck.cache.store import FeatureCache, find_views
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import connect
from bottleneck.heads.data import LabelledFeatures, load_labelled, read_samples
from bottleneck.heads.grids import Grid
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.record import FittedRun, digest_data, find_versions, write_predictions
from bottleneck.heads.registry import complete_params, find_head
from bottleneck.heads.search import (
    COLUMNS,
    SearchSettings,
    Trial,
    make_folds,
    search,
    trial_lines,
)
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.metrics import Metrics, measure
from bottleneck.runs.run import Run, free_name, new_run, run_path, write_run
from bottleneck.runs.table import write_table

__all__ = ["TRIALS", "FittedRun", "fit_head"]

_log = logging.getLogger("bottleneck")

TRIALS = "search.csv"


def fit_head(
    cache: str | os.PathLike[str],
    head: str = "logistic",
    *,
    recipe: Recipe | str | None = None,
    recipes: Sequence[Recipe | str] = (),
    train_views: int | None = None,
    predict_views: int = 1,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    grid: Grid | None = None,
    folds: int = 0,
    jobs: int = 1,
    cluster: str | None = None,
    memory: int | None = None,
) -> FittedRun:
    """Fit a head on cached features and write a run.

    Parameters
    ----------
    cache : path
        Folder or URL of the cache.
    head : str
        Name of a head in `bottleneck.heads.registry.HEADS`, or the dotted path of a scikit-learn
        classifier.
    recipe : Recipe or str, optional
        Recipe of the features. Optional if the cache has only one.
    recipes : sequence of Recipe or str, optional
        Several recipes instead of one. Their features are concatenated.
    train_views : int, optional
        Number of views of each image to fit on, including the plain view; by default all.
    predict_views : int
        Number of views to average the probabilities over, including the plain view. Choices made
        during fitting use the plain view only.
    out : path, optional
        Folder or URL of the run, which must not exist. By default ``runs/CACHE-HEAD``, with a number
        if that name is taken.
    seed : int
        Random seed for the split (if one is created) and the head.
    params : dict, optional
        Parameters of the head, as values or as text. Others have their defaults.
    grid : dict of lists, optional
        Values to try for some parameters, in every combination. The combination with the lowest log
        loss is used. `bottleneck.heads.grids.find_grid` has a grid for each head.
    folds : int
        Number of cross-validation folds of the training and validation splits for scoring parameters;
        0 scores on the validation split. See `bottleneck.heads.search.make_folds`.
    jobs : int
        Number of processes that try parameters.
    cluster : str, optional
        Cluster whose workers try parameters, instead of local processes; as for `bottleneck.extract`.
        The final head is fitted locally.
    memory : int, optional
        Memory for features, in bytes. Larger features are mapped from a temporary file. By default
        half of the free memory.

    Returns
    -------
    FittedRun
        With metrics of each split. The test split is measured and never used for a choice.

    Raises
    ------
    BottleneckError
        If the cache cannot be read, its images cannot be split, there is no such head or parameter,
        or the head cannot be fitted on these features.

    Examples
    --------
    >>> fitted = fit_head(example_cache, "logistic", out=example_folder / "run")
    >>> fitted.run.classes, fitted.run.metrics["train"].images
    (('flower', 'temple'), 4)
    """
    if cluster is not None and not (grid or folds):
        raise BottleneckError(
            "--cluster is only used to try parameters, and none were given to try; add --search, --grid or --cv, "
            "or leave --cluster out"
        )
    kind = find_head(head)
    given = params or {}
    complete = complete_params(kind, given)
    store = FeatureCache(cache)
    entries = store.find_recipes(recipe, recipes)
    train_views = _check_views(entries, train_views, predict_views)
    path = (
        out if out is not None else free_name(Path("runs"), f"{store.path.resolve().name}-{head}")
    )
    split = split_rows(store.listing.ok, seed)
    data = load_labelled(
        store.path, [entry.recipe for entry in entries], split, max(train_views, predict_views)
    )
    kind.check_shape(data.shape)
    training = data.first_views(train_views)
    with new_run(path) as folder:
        trials: tuple[Trial, ...] = ()
        if grid or folds:
            settings = SearchSettings(head, given, seed, jobs, folder)
            trials = _try_parameters(training, grid or {}, folds, settings, cluster)
            complete = complete_params(kind, {**given, **trials[0].params})
        with read_samples(kind, training, memory, folder) as (train, val):
            fitted = kind.fit(train, val, len(data.classes), seed, complete)
        fitted.save(folder)
        predicted = data.first_views(predict_views).views
        probabilities = mean_probabilities(fitted, predicted, len(data.classes))
        run = Run(
            recipes=tuple(entry.recipe for entry in entries),
            weights_paths=tuple(entry.weights_path for entry in entries),
            train_views=train_views,
            predict_views=predict_views,
            classes=data.classes,
            head=head,
            params={**complete, "chosen": dict(fitted.chosen)},
            seed=seed,
            split=split.kind,
            chosen_on=f"{folds} folds of train and val" if trials and folds else "val",
            trials=len(trials),
            metrics=_measure_splits(data, probabilities),
            cache=store.location,
            data_digest=digest_data(split.rows),
            versions=find_versions(),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_predictions(folder, split, data.classes, probabilities)
        write_run(folder, run)
    if run.random:
        _log.warning(
            "The base's weights are RANDOM: these scores say nothing about a trained base."
        )
    return FittedRun(run_path(path), run)


def _check_views(entries: Sequence[RecipeFile], train_views: int | None, predict_views: int) -> int:
    """Check the numbers of views, and return the number of training views."""
    if train_views is None:
        train_views = find_views(entries, "all").stop
    for option, number in (("--train-views", train_views), ("--predict-views", predict_views)):
        if number < 1:
            raise BottleneckError(f"{option} takes a number from 1, not {number}")
        find_views(entries, number - 1)
    return train_views


def _try_parameters(
    data: LabelledFeatures,
    grid: Grid,
    folds: int,
    settings: SearchSettings,
    cluster: str | None,
) -> tuple[Trial, ...]:
    """Try every combination of a grid, and write the table of trials into the run's folder."""
    parts = data.split.parts
    known = Split(data.split.kind, {"train": parts["train"], "val": parts["val"]})
    trained = data.select(known, np.arange(len(known.rows)))
    made = make_folds(parts["train"], parts["val"], folds, settings.seed)
    with connect(cluster) as workers:
        trials = search(trained, made, grid, dataclasses.replace(settings, cluster=workers))
    write_table(settings.folder / TRIALS, COLUMNS, trial_lines(trials))
    return trials


def _measure_splits(
    data: LabelledFeatures, probabilities: NDArray[np.float32]
) -> dict[str, Metrics]:
    return {
        name: measure(data.labels_of(name), probabilities[rows])
        for name, rows in data.slices.items()
    }
