"""Three workers against one process, on the same cores: `python -m benchmarks.cluster`.

What is measured is what a cluster costs for each image, once networks are built: sending tasks, pipelines
that start anew with each, waiting for the last. The workers share this machine's cores, so they cannot
be faster than one process that uses all of them.
"""

import argparse
import itertools
import tempfile
import time
from functools import partial
from pathlib import Path

from distributed import Client, LocalCluster

from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate, show
from bottleneck.extraction.extract import extract

WORKERS, ROUNDS = 3, 3

# Empty tasks, for what one costs without any work.
TASKS = 300


def per_image(folder: Path, address: str, images: int, size: int) -> None:
    """Extract the same pictures into new caches, here and there in turn."""
    write_photographs(folder / "photos", images)
    caches = (folder / f"cache{number}" for number in itertools.count())
    base = {"weights": "random", "image_size": size}

    def here() -> None:
        assert not extract(folder / "photos", next(caches), **base).failed

    def there() -> None:
        done = extract(folder / "photos", next(caches), **base, cluster=f"dask://{address}")
        assert not done.failed

    jobs = {"one process": here, f"{WORKERS} workers": there}
    title = f"InceptionV3 at {size}, {images} JPEGs"
    with Client(address, set_as_default=False) as client:
        used: dict[str, list[float]] = {name: [] for name in jobs}

        def metered(name: str) -> None:
            before = time.process_time() + sum(client.run(time.process_time).values())
            jobs[name]()
            after = time.process_time() + sum(client.run(time.process_time).values())
            used[name].append(after - before)

        took = alternate({name: partial(metered, name) for name in jobs}, ROUNDS)
    show(title, took, "one process", images)
    # less disturbed by what else the machine does
    counted = {name: seconds[1:] for name, seconds in used.items()}
    show("The same, in seconds of processor time", counted, "one process", images)


def per_task(address: str) -> None:
    """Send tasks in which nothing is done."""
    with Client(address, set_as_default=False) as client:
        for count in (1, TASKS):  # the first is not counted
            started = time.perf_counter()
            client.gather([client.submit(abs, -n, pure=False) for n in range(count)])
            seconds = time.perf_counter() - started
    print(f"\nA task in which nothing is done: {1000 * seconds / TASKS:.2f} ms")


def main() -> None:
    """Run them in a folder that is thrown away."""
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=768)
    options.add_argument("--size", type=int, default=150)
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            WORKERS, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
        ) as local,
    ):
        address = local.scheduler_address.removeprefix("tcp://")
        per_task(local.scheduler_address)
        per_image(Path(folder), address, chosen.images, chosen.size)


if __name__ == "__main__":
    main()
