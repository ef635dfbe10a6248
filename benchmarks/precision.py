"""What a precision gives and what it takes: `python -m benchmarks.precision`.

For each precision and engine of this machine: how fast it runs the base beside OpenVINO in float32, timed in
turn; how near its features are to those of float32; and what a head makes of them.
"""

import argparse
import dataclasses
import itertools
import logging
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import machine
from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate
from bottleneck.cache.recipe import PRECISIONS, Precision
from bottleneck.cache.store import FeatureCache
from bottleneck.extraction.engines.openvino_engine import precisions_here
from bottleneck.extraction.engines.protocol import BATCH_SIZE, Engine, EngineName
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.extract import extract
from bottleneck.extraction.request import request_from_recipes
from bottleneck.heads.fit import fit_head
from bottleneck.runs.metrics import Metrics

# Batches in a round: as many as engines have in flight, a few times over.
BATCHES = 6


@dataclass(frozen=True)
class Way:
    """An engine that computes in a precision, and what came of it."""

    precision: Precision
    engine: Engine
    X: NDArray[np.float32]
    metrics: Metrics

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return f"| {self.precision} | {self.engine.name} |"

    def cosines(self, other: "Way") -> NDArray[np.float32]:
        """Similarity of each picture's features to those another way gives."""
        lengths = (np.linalg.norm(way.X, axis=1) for way in (self, other))
        found: NDArray[np.float32] = (self.X * other.X).sum(axis=1) / np.prod([*lengths], axis=0)
        return found


def ways_here() -> list[tuple[Precision, EngineName]]:
    """Tell what this machine can do: float32 with OpenVINO first, which the others are compared with."""
    by_openvino: list[tuple[Precision, EngineName]] = [(p, "openvino") for p in precisions_here()]
    return [*by_openvino, *((p, "keras") for p in PRECISIONS if p != "int8")]


def measure(
    pictures: Path, scratch: Path, precision: Precision, engine: EngineName, **options: Any
) -> Way:
    """Extract, fit a head on train, and judge it on val."""
    cache = scratch / f"{precision}-{engine}"
    extract(pictures, cache, precision=precision, engine=engine, **options)
    (entry,) = FeatureCache(cache).recipe_files
    run = fit_head(cache, "logistic", out=scratch / "runs" / cache.name).run
    network = request_from_recipes([entry.recipe], entry.weights_path).build()
    return Way(
        precision,
        start_engine(network, engine, BATCH_SIZE),
        FeatureCache(cache).load().X,
        run.metrics["val"],
    )


def batches_of(engine: Engine, size: int) -> Callable[[], None]:
    """Run batches that are there already, as many at once as the engine takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8)

    def job() -> None:
        with ThreadPoolExecutor(engine.in_flight) as threads:
            list(threads.map(engine.features, itertools.repeat(pixels, BATCHES)))

    return job


def table(ways: list[Way], seconds: dict[str, list[float]]) -> str:
    """Make the table of docs/features.md."""
    first = ways[0]
    lines = [
        "| `--precision` | engine | times as fast | cosine, mean | least | accuracy | log loss |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way in ways:
        ratios = [
            one / own for one, own in zip(seconds[first.name], seconds[way.name], strict=True)
        ]
        cosines = way.cosines(first)
        lines.append(
            f"{way.name} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {cosines.mean():.5f} | {cosines.min():.5f} | {_change(way, first, 'accuracy')} "
            f"| {_change(way, first, 'log_loss')} |"
        )
    return "\n".join(lines)


def _change(way: Way, first: Way, name: str) -> str:
    own, single = (dataclasses.asdict(each.metrics)[name] for each in (way, first))
    return f"{own:.4f}" if way is first else f"{own:.4f} ({own - single:+.4f})"


def main(arguments: list[str] | None = None) -> None:
    """Measure everything in a folder that is thrown away, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="a small base, few pictures, one round"
    )
    parser.add_argument("--pictures", type=Path, help="a folder of class folders of JPEG files")
    parser.add_argument("--base", default="inception_v3")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    options = {"base": given.base, "weights": given.weights}
    if given.short:
        options |= {"base": "mobilenet_0.25", "image_size": 32}
    with tempfile.TemporaryDirectory() as name:
        pictures = given.pictures or Path(name) / "photos"
        if given.pictures is None:
            write_photographs(pictures, 16 if given.short else 96)
        ways = [measure(pictures, Path(name), *way, **options) for way in ways_here()]
        (size,) = {
            FeatureCache(cache).recipes[0].image_size for cache in Path(name).glob("*-openvino")
        }
        jobs = {way.name: batches_of(way.engine, size) for way in ways}
        seconds = alternate(jobs, 1 if given.short else given.rounds)
    here = machine()
    print(
        f"{here['processor']}, {here['cores']} cores; {options['base']} at {size}, {len(ways[0].X)} pictures, "
        f"{ways[0].metrics.images} of them to judge a logistic head on; median (least to most). Processes that ran "
        f"or waited to when it ended: {here['load']}.\n"
    )
    print(table(ways, seconds))


if __name__ == "__main__":
    logging.getLogger("bottleneck").setLevel(logging.ERROR)
    main()
