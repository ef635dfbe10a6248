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
from collections.abc import Iterator, Mapping
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
from bottleneck.cache.store import FeatureCache
from bottleneck.heads.registry import Head, Sample, complete_params, find_head
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.metrics import measure
from bottleneck.runs.run import Run, free_name, new_run, write_run
from bottleneck.runs.table import class_columns, write_table

_log = logging.getLogger("bottleneck")

# Rows read at a time where only one pass is needed: 32 MiB of 2,048 features.
_BATCH = 4096

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
    entry = store.find_recipe(recipe)
    path = (
        Path(out)
        if out is not None
        else free_name(Path("runs"), f"{store.path.resolve().name}-{head}")
    )
    split = split_rows(store.listing.ok, seed)
    rows = tuple(row for part in split.parts.values() for row in part)
    classes = tuple(sorted({row.label for row in rows if row.label is not None}))
    features = locate(store.path, entry.recipe, rows, classes)
    module = kind.load_module()
    with new_run(path) as folder:
        with _samples(features, split, memory, folder) as (train, val):
            fitted = module.fit(train, val, len(classes), seed, complete)
        fitted.save(folder)
        probabilities = _probabilities(fitted, features)
        run = Run(
            recipe=entry.recipe,
            weights_path=entry.weights_path,
            classes=classes,
            head=head,
            params={**complete, "chosen": dict(fitted.chosen)},
            seed=seed,
            split=split.kind,
            metrics={
                name: measure(_codes(split.parts[name], classes), probabilities[part])
                for name, part in _places(split).items()
            },
            cache=str(store.path.absolute()),
            data_digest=_data_digest(rows),
            versions=_versions(),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        _write_predictions(folder / PREDICTIONS, split, classes, probabilities)
        write_run(folder, run)
    if entry.recipe.random:
        _log.warning("The base's weights are RANDOM: these figures say nothing of a trained base.")
    return FittedRun(path, run)


def _places(split: Split) -> dict[str, slice]:
    places, start = {}, 0
    for name, part in split.parts.items():
        places[name] = slice(start, start + len(part))
        start += len(part)
    return places


def _codes(rows: tuple[Row, ...], classes: tuple[str, ...]) -> NDArray[np.int64]:
    codes = {label: code for code, label in enumerate(classes)}
    return np.array([codes[row.label] for row in rows if row.label is not None], np.int64)


@contextlib.contextmanager
def _samples(
    features: Located, split: Split, memory: int | None, folder: Path
) -> Iterator[tuple[Sample, Sample]]:
    """Read the features a head is fitted on, into memory or, where they do not fit, into a file."""
    places = _places(split)
    width = int(np.prod(features.shape))
    needed = 4 * width * (places["train"].stop + len(split.parts["val"]))
    allowed = _free_memory() // 2 if memory is None else memory
    with contextlib.ExitStack() as stack:
        samples = []
        for name in ("train", "val"):
            rows = split.parts[name]
            shape = (len(rows), width)
            if needed <= allowed:
                X = np.empty(shape, np.float32)
            else:
                _log.info("%d MB of features do not fit into memory: mapping them.", needed >> 20)
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                X = np.memmap(file, np.float32, "w+", shape=shape)
            for start in range(0, len(rows), _BATCH):
                begin = places[name].start + start
                part = slice(begin, min(begin + _BATCH, places[name].stop))
                X[start : start + _BATCH] = features.gather(part).X.reshape(-1, width)
            samples.append(Sample(X, _codes(rows, features.classes)))
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


def _probabilities(head: Head, features: Located) -> NDArray[np.float32]:
    batches = []
    for start in range(0, len(features.rows), _BATCH):
        X = features.gather(slice(start, start + _BATCH)).X
        batches.append(head.predict_proba(X.reshape(len(X), -1)))
    return np.concatenate(batches)


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
