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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located, locate
from bottleneck.cache.listing import Row
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.store import FeatureCache, find_views
from bottleneck.errors import BottleneckError
from bottleneck.heads.probabilities import BATCH, mean_probabilities
from bottleneck.heads.registry import Sample, complete_params, find_head
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.metrics import measure
from bottleneck.runs.run import Run, free_name, new_run, write_run
from bottleneck.runs.table import class_columns, write_table

_log = logging.getLogger("bottleneck")

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class FittedRun:
    """A run and where it lies."""

    path: Path
    run: Run


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
    memory: int | None = None,
) -> FittedRun:
    """Fit a head on cached features and leave a run behind.

    Parameters
    ----------
    cache : path
        The cache's folder.
    head : {"logistic", "softmax"}
        What to fit.
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
        The run's folder, which must not exist; by default ``runs/CACHE-HEAD``, with a number where
        that is taken.
    seed : int
        Of the split, where the data give none, and of the head.
    params : dict, optional
        The head's parameters; those left out have their defaults.
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
        The cache cannot be read, its images cannot be split, or there is no such head or parameter.

    Examples
    --------
    >>> fitted = fit_head(example_cache, "logistic", out=example_folder / "run")
    >>> fitted.run.classes, fitted.run.metrics["train"].images
    (('flower', 'temple'), 4)
    """
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
        Path(out)
        if out is not None
        else free_name(Path("runs"), f"{store.path.resolve().name}-{head}")
    )
    split = split_rows(store.listing.ok, seed)
    rows = tuple(row for part in split.parts.values() for row in part)
    classes = tuple(sorted({row.label for row in rows if row.label is not None}))
    views = locate(
        store.path,
        [entry.recipe for entry in entries],
        [row for row in rows for _ in range(most)],
        classes,
        [*range(most)] * len(rows),
    ).by_view(most)
    module = kind.load_module()
    with new_run(path) as folder:
        with read_samples(views[:train_views], split, memory, folder) as (train, val):
            fitted = module.fit(train, val, len(classes), seed, complete)
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
            metrics={
                name: measure(label_codes(split.parts[name], classes), probabilities[part])
                for name, part in part_places(split).items()
            },
            cache=str(store.path.absolute()),
            data_digest=_data_digest(rows),
            versions=_versions(),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        _write_predictions(folder / PREDICTIONS, split, classes, probabilities)
        write_run(folder, run)
    if run.random:
        _log.warning("The base's weights are RANDOM: these figures say nothing of a trained base.")
    return FittedRun(path, run)


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
    views: Sequence[Located], split: Split, memory: int | None, folder: Path
) -> Iterator[tuple[Sample, Sample]]:
    """Read the features a head is fitted on, into memory or, where they do not fit, into a file."""
    places = part_places(split)
    width = int(np.prod(views[0].shape))
    taken = {"train": views, "val": views[:1]}
    needed = 4 * width * sum(len(split.parts[name]) * len(of) for name, of in taken.items())
    allowed = _free_memory() // 2 if memory is None else memory
    with contextlib.ExitStack() as stack:
        samples = []
        for name, of in taken.items():
            rows = split.parts[name]
            shape = (len(rows) * len(of), width)
            if needed <= allowed:
                X = np.empty(shape, np.float32)
            else:
                _log.info("%d MB of features do not fit into memory: mapping them.", needed >> 20)
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                X = np.memmap(file, np.float32, "w+", shape=shape)
            filled = 0
            for view in of:
                for start in range(places[name].start, places[name].stop, BATCH):
                    part = slice(start, min(start + BATCH, places[name].stop))
                    some = view.gather(part).X.reshape(-1, width)
                    X[filled : filled + len(some)] = some
                    filled += len(some)
            samples.append(Sample(X, np.tile(label_codes(rows, views[0].classes), len(of))))
        yield samples[0], samples[1]


def _free_memory() -> int:
    try:
        # what Linux could free for us, page cache included; in kB
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(
            int(line.split()[1]) for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _write_predictions(
    file: Path, split: Split, classes: tuple[str, ...], probabilities: NDArray[np.float32]
) -> None:
    header = ["path", "label", "split", "prediction", "confidence", *class_columns(classes)]
    places = [(name, row) for name, part in split.parts.items() for row in part]
    lines = (
        [
            row.path,
            row.label,
            name,
            classes[int(p.argmax())],
            f"{p.max():.6f}",
            *(f"{v:.6f}" for v in p),
        ]
        for (name, row), p in zip(places, probabilities, strict=True)
    )
    write_table(file, header, lines)


def _data_digest(rows: tuple[Row, ...]) -> str:
    named = sorted((row.digest, row.label, row.split or "") for row in rows)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _versions() -> dict[str, str]:
    software = ("bottleneck-features", "numpy", "scikit-learn", "keras", "tensorflow", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in software}
