"""`bottleneck fit-head`: from a cache to a run."""

import contextlib
import hashlib
import json
import logging
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located, locate
from bottleneck.cache.location import name_of
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.store import FeatureCache, find_views
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import connect
from bottleneck.heads.grids import Grid
from bottleneck.heads.probabilities import mean_probabilities, read_finite
from bottleneck.heads.registry import HEADS, HeadKind, Sample, complete_params, find_head
from bottleneck.heads.scaling import slices
from bottleneck.heads.search import COLUMNS, Trial, make_folds, search, trial_lines
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.metrics import measure
from bottleneck.runs.run import Run, free_name, new_run, run_path, write_run
from bottleneck.runs.table import PREDICTIONS, class_columns, write_table

_log = logging.getLogger("bottleneck")

TRIALS = "search.csv"


@dataclass(frozen=True)
class FittedRun:
    """A run and where it lies; `path` is the folder of its mirror where it was sent to a URL."""

    path: Path
    run: Run

    @property
    def name(self) -> str:
        """Where it is, for people: a path or a URL."""
        return name_of(self.path)


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
    """Fit a head on cached features and leave a run behind.

    Parameters
    ----------
    cache : path
        The cache's folder or URL.
    head : str
        What to fit: a name of `bottleneck.heads.registry.HEADS`, or a scikit-learn classifier by its
        dotted path.
    recipe : Recipe or str, optional
        Which features; may be left out where there are those of one recipe only.
    recipes : sequence of Recipe or str, optional
        In place of one: several, whose features are put side by side.
    train_views : int, optional
        Fit on so many views of each image, the plain one counted; by default on all there are.
    predict_views : int
        Average the probabilities over so many views. Whatever is chosen while fitting is chosen on
        the plain view.
    out : path, optional
        The run's folder or URL, which must not exist; by default ``runs/CACHE-HEAD``, with a number where
        that is taken.
    seed : int
        Of the split, where the data give none, and of the head.
    params : dict, optional
        The head's parameters, as values or as text; those left out have their defaults.
    grid : dict of lists, optional
        Values to try of some parameters, in every combination; those with the least log loss are taken.
        `bottleneck.heads.grids.find_grid` has some for each head.
    folds : int
        Judge them, or the parameters given, in so many folds of the training and validation splits
        rather than on the validation split alone; see `bottleneck.heads.search.make_folds`.
    jobs : int
        Processes that try parameters at the same time.
    cluster : str, optional
        In place of these, the workers that try them, as for `bottleneck.extract`. The head itself is
        fitted here.
    memory : int, optional
        Bytes that features may take in memory; more than that are put in a file and mapped from
        there. By default half of what is free.

    Returns
    -------
    FittedRun
        With metrics of the splits. The test split is only measured, never used to choose anything.

    Raises
    ------
    BottleneckError
        The cache cannot be read, its images cannot be split, there is no such head or parameter, or
        the head cannot be fitted on these features.

    Examples
    --------
    >>> fitted = fit_head(example_cache, "logistic", out=example_folder / "run")
    >>> fitted.run.classes, fitted.run.metrics["train"].images
    (('flower', 'temple'), 4)
    """
    if cluster is not None and not (grid or folds):
        raise BottleneckError(
            "--cluster is for trying parameters, and none are to be tried; ask for it with --search, --grid or --cv, "
            "or leave --cluster out"
        )
    kind = find_head(head)
    complete = complete_params(kind, params or {})
    store = FeatureCache(cache)
    entries = store.find_recipes(recipe, recipes)
    if train_views is None:
        train_views = find_views(entries, "all").stop
    for option, number in (("--train-views", train_views), ("--predict-views", predict_views)):
        if number < 1:
            raise BottleneckError(f"{option} takes a number from 1, not {number}")
        find_views(entries, number - 1)
    most = max(train_views, predict_views)
    path = (
        out if out is not None else free_name(Path("runs"), f"{store.path.resolve().name}-{head}")
    )
    split = split_rows(store.listing.ok, seed)
    rows, classes = split.rows, split.classes
    views = locate(
        store.path, [entry.recipe for entry in entries], rows, classes, range(most)
    ).by_view(most)
    kind.refuse_shape(views[0].shape)
    with new_run(path) as folder:
        trials: tuple[Trial, ...] = ()
        if grid or folds:
            judged = make_folds(split.parts["train"], split.parts["val"], folds, seed)
            count = sum(len(split.parts[name]) for name in ("train", "val"))
            with connect(cluster) as workers:
                trials = search(
                    head,
                    [view.take(np.arange(count)) for view in views[:train_views]],
                    judged,
                    grid or {},
                    classes=classes,
                    params=params or {},
                    seed=seed,
                    jobs=jobs,
                    folder=folder,
                    cluster=workers,
                )
            complete = complete_params(kind, {**(params or {}), **trials[0].params})
            write_table(folder / TRIALS, COLUMNS, trial_lines(trials))
        with read_samples(kind, views[:train_views], split, memory, folder) as (train, val):
            fitted = kind.fit(train, val, len(classes), seed, complete)
        fitted.save(folder)
        probabilities = mean_probabilities(fitted, views[:predict_views], len(classes))
        run = Run(
            recipes=tuple(entry.recipe for entry in entries),
            weights_paths=tuple(entry.weights_path for entry in entries),
            train_views=train_views,
            predict_views=predict_views,
            classes=classes,
            head=head,
            params={**complete, "chosen": dict(fitted.chosen)},
            seed=seed,
            split=split.kind,
            chosen_on=f"{folds} folds of train and val" if trials and folds else "val",
            trials=len(trials),
            metrics={
                name: measure(label_codes(split.parts[name], classes), probabilities[part])
                for name, part in part_places(split).items()
            },
            cache=store.location,
            data_digest=digest_data(rows),
            versions=find_versions(),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_predictions(folder, split, classes, probabilities)
        write_run(folder, run)
    if run.random:
        _log.warning("The base's weights are RANDOM: these figures say nothing of a trained base.")
    return FittedRun(run_path(path), run)


def part_places(split: Split) -> dict[str, slice]:
    """Tell where the rows of each part are, when the parts follow each other."""
    places, start = {}, 0
    for name, part in split.parts.items():
        places[name] = slice(start, start + len(part))
        start += len(part)
    return places


def label_codes(rows: Sequence[Row], classes: Sequence[str]) -> NDArray[np.int64]:
    """Number the labels of rows by their place among the classes."""
    codes = {label: code for code, label in enumerate(classes)}
    return np.array([codes[row.label] for row in rows if row.label is not None], np.int64)


@contextlib.contextmanager
def read_samples(
    kind: HeadKind, views: Sequence[Located], split: Split, memory: int | None, folder: Path
) -> Iterator[tuple[Sample, Sample]]:
    """Read the features a head is fitted on, into memory or, where they do not fit, into a file."""
    places = part_places(split)
    taken = {"train": views, "val": views[:1]}
    needed = (
        4
        * int(np.prod(views[0].shape))
        * sum(len(split.parts[name]) * len(of) for name, of in taken.items())
    )
    allowed = _free_memory() // 2 if memory is None else memory
    if needed > allowed:
        _tell_of_mapping(kind, needed)
    with contextlib.ExitStack() as stack:
        samples = []
        for name, of in taken.items():
            rows = split.parts[name]
            shape = (len(rows) * len(of), *views[0].shape)
            if needed <= allowed:
                X = np.empty(shape, np.float32)
            else:
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                X = np.memmap(file, np.float32, "w+", shape=shape)
            filled = 0
            for view in of:
                for part in slices(len(rows), view.shape):
                    first = places[name].start
                    some = read_finite(view, slice(first + part.start, first + part.stop))
                    X[filled : filled + len(some)] = some
                    filled += len(some)
            samples.append(Sample(X, np.tile(label_codes(rows, views[0].classes), len(of))))
        yield samples[0], samples[1]


def _tell_of_mapping(kind: HeadKind, needed: int) -> None:
    if kind.streams:
        _log.info("%d MB of features do not fit into memory: mapping them.", needed >> 20)
    else:
        streaming = ", ".join(other.name for other in HEADS.values() if other.streams)
        _log.warning(
            "%d MB of features are more than memory allows, and head %s takes them all at once; "
            "these go through them in pieces: %s.",
            needed >> 20,
            kind.name,
            streaming,
        )


def _free_memory() -> int:
    try:
        # what Linux could free for us, page cache included; in kB
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(
            int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def write_predictions(
    folder: Path, split: Split, classes: tuple[str, ...], probabilities: NDArray[np.float32]
) -> None:
    """Write what a run says of each image it was fitted or measured on: ``predictions.csv``."""
    header = ["path", "label", "split", "prediction", "confidence", *class_columns(classes)]
    places = [(name, row) for name, part in split.parts.items() for row in part]
    lines = (
        [
            row.path,
            row.label,
            name,
            classes[int(p.argmax())],
            # the fewest digits that float32 can be told from: what is rounded can be compared no more
            *map(str, (p.max(), *p)),
        ]
        for (name, row), p in zip(places, probabilities, strict=True)
    )
    write_table(folder / PREDICTIONS, header, lines)


def digest_data(rows: tuple[Row, ...]) -> str:
    """SHA-256 of the images' digests, labels and splits, in hexadecimal; their order does not matter."""
    named = sorted((row.digest, row.label, row.split or "") for row in rows)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def find_versions() -> dict[str, str]:
    """Versions of the software that fits, for a run to record."""
    software = ("bottleneck-features", "numpy", "scikit-learn", "keras", "tensorflow", "pillow")
    versions = {"python": platform.python_version()}
    for name in software:
        # most heads need no TensorFlow, and builds of it have names of their own
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
