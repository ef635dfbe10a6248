"""One worker, and three, against one process, on the same cores: `python -m benchmarks.cluster`.

What is measured is what a cluster costs for each image, once networks are built: sending tasks, pipelines
that start anew with each, waiting for the last. The workers share this machine's cores, so they cannot
be faster than one process that uses all of them. One worker shows what Dask costs, and three what it costs
besides that they get in each other's way.
"""

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate
from bottleneck.extraction.cluster import Cluster, outline
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.extract import extract
from bottleneck.extraction.request import make_request
from bottleneck.extraction.spec import FeatureSpec

WORKERS, ROUNDS = (1, 3), 4

# How many times as many pictures the larger set has.
_FEWER = 4

# Empty tasks, for what one costs without any work.
TASKS = 300


def per_image(folder: Path, addresses: dict[str, str], images: int, size: int) -> None:
    """Extract few and many pictures into new caches, here and on each cluster in turn.

    What the many take more than the few is the cost of an image once all is running; what is left of the few
    then is that of a run: to connect, to ask workers, to fill pipelines and to wait for the last.
    """
    few = images // _FEWER
    sets = {count: folder / f"photos{count}" for count in (few, images)}
    for count, photos in sets.items():
        write_photographs(photos, count)
    caches = (folder / f"cache{number}" for number in itertools.count())
    places = {"one process": None} | {
        name: f"dask://{address}" for name, address in addresses.items()
    }
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(address, set_as_default=False))
            for address in addresses.values()
        ]

        def spent() -> float:
            workers = [client.run(time.process_time).values() for client in clients]
            return time.process_time() + sum(map(sum, workers))

        used: dict[tuple[str, int], list[float]] = {}

        def run(place: str | None, name: str, count: int) -> None:
            before = spent()
            done = extract(
                sets[count], next(caches), weights="random", image_size=size, cluster=place
            )
            assert done.computed == count, done
            used.setdefault((name, count), []).append(spent() - before)

        jobs = {
            (name, count): partial(run, place, name, count)
            for count in sets
            for name, place in places.items()
        }
        took = alternate(jobs, ROUNDS)
    title = f"InceptionV3 at {size}, {images} JPEGs"
    show_marginal(f"{title}, by the clock", took, few, images)
    # less disturbed by what else the machine does
    counted = {key: seconds[1:] for key, seconds in used.items()}
    show_marginal(f"{title}, by processor time", counted, few, images)


def show_marginal(
    title: str, seconds: Mapping[tuple[str, int], list[float]], few: int, many: int
) -> None:
    """Print what an image costs once all is running, as a multiple of one process's, and a run besides."""
    print(f"\n{title}")
    slopes = {
        name: (np.array(seconds[name, many]) - seconds[name, few]) / (many - few)
        for name, count in seconds
        if count == many
    }
    for name, each in slopes.items():
        ratios = each / slopes["one process"]
        once = np.median(np.array(seconds[name, few]) - few * each)
        print(
            f"  {name:<12} {1000 * np.median(each):6.2f} ms an image × {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}), {once:5.2f} s a run"
        )


def per_task(address: str) -> None:
    """Send tasks in which nothing is done."""
    with Client(address, set_as_default=False) as client:
        for count in (1, TASKS):  # the first is not counted
            started = time.perf_counter()
            client.gather([client.submit(abs, -n, pure=False) for n in range(count)])
            seconds = time.perf_counter() - started
    print(f"\nA task in which nothing is done: {1000 * seconds / TASKS:.2f} ms")


def per_worker(folder: Path, size: int) -> None:
    """Start a worker and have it build a base, which each does once."""
    started = time.perf_counter()
    with (
        LocalCluster(1, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as local,
        Client(local, set_as_default=False) as client,
    ):
        there = time.perf_counter()
        wanted = make_request(FeatureSpec("inception_v3", "random", image_size=size))
        outline(Cluster(client, "one"), wanted, wanted.taps, Settings(), folder)
        built = time.perf_counter()
    print(f"\nA worker: {there - started:.1f} s to start, {built - there:.1f} s to build the base")


def main() -> None:
    """Run them in a folder that is thrown away."""
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=4000)
    options.add_argument("--size", type=int, default=96)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        per_worker(Path(folder), chosen.size)
        addresses = {}
        for count in WORKERS:
            local = LocalCluster(
                count, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
            )
            address = stack.enter_context(local).scheduler_address.removeprefix("tcp://")
            addresses[f"workers: {count}"] = address
        per_task(address)
        per_image(Path(folder), addresses, chosen.images, chosen.size)


if __name__ == "__main__":
    main()
