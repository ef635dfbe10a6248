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
from functools import partial
from pathlib import Path

from distributed import Client, LocalCluster

from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate, show
from bottleneck.extraction.extract import extract

WORKERS, ROUNDS = (1, 3), 3

# Empty tasks, for what one costs without any work.
TASKS = 300


def per_image(folder: Path, addresses: dict[str, str], images: int, size: int) -> None:
    """Extract the same pictures into new caches, here and on each cluster in turn."""
    write_photographs(folder / "photos", images)
    caches = (folder / f"cache{number}" for number in itertools.count())
    base = {"weights": "random", "image_size": size}

    def here() -> None:
        assert not extract(folder / "photos", next(caches), **base).failed

    def there(address: str) -> None:
        done = extract(folder / "photos", next(caches), **base, cluster=address)
        assert not done.failed

    jobs = {"one process": here}
    jobs |= {name: partial(there, f"dask://{address}") for name, address in addresses.items()}
    title = f"InceptionV3 at {size}, {images} JPEGs"
    used: dict[str, list[float]] = {name: [] for name in jobs}
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(address, set_as_default=False))
            for address in addresses.values()
        ]

        def spent() -> float:
            workers = [client.run(time.process_time).values() for client in clients]
            return time.process_time() + sum(map(sum, workers))

        def metered(name: str) -> None:
            before = spent()
            jobs[name]()
            used[name].append(spent() - before)

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
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
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
