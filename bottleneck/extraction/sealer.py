"""Write features into shards."""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.recipe import Recipe
from bottleneck.cache.shard import write_shard
from bottleneck.errors import BottleneckError
from bottleneck.extraction.plan import Target, rows_per_task
from bottleneck.extraction.statistics import ExtractionStatistics

_Stored = NDArray[np.float32] | NDArray[np.float16]


class Key(NamedTuple):
    """Image and view of a row of features; the path is for messages."""

    digest: str
    view: int
    path: str


class Sealer:
    """Collects features and seals them in a thread of its own, one shard of each recipe at a time."""

    def __init__(
        self,
        features: Path,
        targets: Sequence[Target],
        taps: tuple[str, ...],
        seconds: float,
        tally: ExtractionStatistics,
    ) -> None:
        self._folder, self._targets, self._taps = features, targets, taps
        self._seconds, self._tally = seconds, tally
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._writing: Future[None] | None = None
        self._spare: list[list[_Stored]] = []
        self._restart()

    def _restart(self) -> None:
        self._rows: list[Key] = []
        # for each tap as many rows as fill a shard, so that nothing has to be concatenated
        self._outputs: list[_Stored] = []
        self._since = time.monotonic()

    def add(self, rows: list[Key], outputs: tuple[NDArray[np.float32], ...]) -> None:
        """Add the features of a batch; rows beyond those named are padding."""
        recipe = self._targets[0].recipe
        stored = tuple(
            _as_stored(output[: len(rows)], recipe, tap, rows)
            for output, tap in zip(outputs, self._taps, strict=True)
        )
        batch = len(outputs[0])
        if not self._rows:
            count = rows_per_task(sum(part[:1].nbytes for part in stored), batch)
            self._outputs = (
                self._spare.pop()
                if self._spare
                else [np.empty((count, *part.shape[1:]), part.dtype) for part in stored]
            )
        for output, part in zip(self._outputs, stored, strict=True):
            output[len(self._rows) : len(self._rows) + len(rows)] = part
        self._rows += rows
        full = len(self._rows) + batch > len(self._outputs[0])
        if full or time.monotonic() - self._since >= self._seconds:
            self._seal()

    def close(self) -> None:
        """Seal the collected rows and wait until they are on the disk."""
        try:
            self._seal()
            self._wait()
        finally:
            self._writer.shutdown()

    def _seal(self) -> None:
        self._wait()
        if self._rows:
            self._writing = self._writer.submit(self._write, self._rows, self._outputs)
            self._restart()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            start = time.perf_counter()
            writing.result()
            self._tally.blocked += time.perf_counter() - start

    def _write(self, rows: list[Key], outputs: list[_Stored]) -> None:
        start = time.perf_counter()
        for target in self._targets:
            missing = [target.is_missing(row.digest, row.view) for row in rows]
            if not any(missing):
                continue
            tap = self._taps.index(target.recipe.tap)
            features = outputs[tap][: len(rows)]
            kept = list(itertools.compress(rows, missing))
            write_shard(
                self._folder / target.recipe.id,
                target.recipe,
                [row.digest for row in kept],
                np.array([row.view for row in kept], np.uint16),
                features if all(missing) else features[missing],
            )
        self._spare.append(outputs)
        self._tally.write += time.perf_counter() - start
        self._tally.computed += len(rows)


def _as_stored(features: NDArray[np.float32], recipe: Recipe, tap: str, rows: list[Key]) -> _Stored:
    """Convert features to the type they are stored in, and check that it can represent them."""
    with np.errstate(over="ignore"):  # reported below
        stored: _Stored = features.astype(recipe.dtype, copy=False)
    if np.isfinite(stored).all():
        return stored
    wrong = np.flatnonzero(~np.isfinite(stored).reshape(len(rows), -1).all(axis=1))
    worst = features[wrong[0]].flat[np.abs(features[wrong[0]]).argmax()]
    name = rows[wrong[0]].path
    if recipe.dtype == "float16" and np.isfinite(features).all():
        raise BottleneckError(
            f"features of {name!r} at {tap} reach {worst:g}, and float16 ends at {np.finfo(np.float16).max:g}; "
            "keep them with --dtype float32"
        )
    if recipe.precision == "float16":
        raise BottleneckError(
            f"at {tap}, {name!r} leaves the numbers float16 can compute with ({worst:g}); "
            "run the base with --precision bfloat16 or float32"
        )
    raise BottleneckError(
        f"at {tap}, the base makes {worst:g} of {name!r}, which is no feature: its weights are damaged or "
        "were never trained for these pixels; give others with --weights"
    )
