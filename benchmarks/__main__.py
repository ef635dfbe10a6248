"""`make bench`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from benchmarks import costs, heads
from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate, show
from bottleneck.bases.network import build_network
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import build_with_weights, find_weights
from bottleneck.cache.features import locate
from bottleneck.cache.listing import Row
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.shard import write_shard
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.engine import choose
from bottleneck.extraction.extract import extract
from bottleneck.extraction.plan import Target, missing_items, plan_tasks
from bottleneck.extraction.progress import no_progress
from bottleneck.extraction.scan import scan
from bottleneck.extraction.tally import Tally
from bottleneck.heads.fit import fit_head
from bottleneck.images.source import read_source

IMAGES, SIZE, ROUNDS = 96, 299, 3


# the five highest ends of blocks
TAPS = ["mixed6", "mixed7", "mixed8", "mixed9", "mixed10"]


def conveyor(folder: Path, **options: Any) -> Callable[[], None]:
    """Make the job of extracting all photographs with a network that is built already."""
    images = read_source(folder / "photos")
    listing = scan(images, None, workers=2, retry_failed=False, progress=no_progress)
    wanted = choose("inception_v3", "random", **options)
    network = build_network(wanted.base, wanted.weights, wanted.taps, wanted.pool, SIZE)
    targets = [
        Target(recipe, range(1), held={}) for recipe in wanted.recipes(network.weights_digest)
    ]
    (task,) = plan_tasks(missing_items(listing.ok, targets), IMAGES)

    def job() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as shards:
            for target in targets:
                (Path(shards) / target.recipe.id).mkdir()
            run_task(
                task,
                root=listing.root,
                features=Path(shards),
                targets=targets,
                engine=network,
                settings=Settings(),
                tally=Tally(),
                done=lambda _: None,
            )

    return job


def extraction(folder: Path) -> None:
    """The conveyor against the loop of a notebook: decode a batch, predict, average, go on."""
    images = read_source(folder / "photos")
    model = build_with_weights(find_base("inception_v3"), find_weights("random"), SIZE)

    def notebook() -> None:
        rows = []
        for start in range(0, IMAGES, 32):
            files = [images.root / file.path for file in images.files[start : start + 32]]
            batch = [Image.open(file).convert("RGB").resize((SIZE, SIZE)) for file in files]
            pixels = np.stack([np.asarray(image, np.float32) for image in batch]) / 127.5 - 1
            rows.append(model.predict(pixels, verbose=0).mean(axis=(1, 2)))
        np.save(folder / "rows.npy", np.concatenate(rows))

    jobs = {"conveyor": conveyor(folder), "decode, predict, average in a loop": notebook}
    show(f"InceptionV3 at {SIZE}, {IMAGES} JPEGs", alternate(jobs, ROUNDS), "conveyor", IMAGES)


def several_taps(folder: Path) -> None:
    """Five taps in one pass against the highest alone."""
    jobs = {
        "mixed10 alone": conveyor(folder),
        "five taps in one pass": conveyor(folder, taps=TAPS),
    }
    title = f"Taps of InceptionV3 at {SIZE}, {IMAGES} JPEGs"
    show(title, alternate(jobs, ROUNDS), "mixed10 alone", IMAGES)


def second_run(folder: Path) -> None:
    """What an epoch of a notebook costs when the features are there."""
    cache = folder / "cache"
    extract(folder / "photos", cache, weights="random")
    runs = iter(range(10**6))

    def again() -> None:
        extract(folder / "photos", cache, weights="random")

    def fit() -> None:
        fit_head(cache, "logistic", out=folder / "runs" / str(next(runs)))

    jobs = {"extract again, nothing changed": again, "fit a logistic head": fit}
    show("On the cache", alternate(jobs, ROUNDS), "extract again, nothing changed", IMAGES)


def reading(folder: Path) -> None:
    """Loading features, every byte checked, against reading the same bytes with NumPy and h5py."""
    count, width = 50_000, 2048
    X = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    recipe = Recipe("inception_v3", "mixed10", "avg", "random-0", "", SIZE, "squash", "")
    shards = folder / "large" / "features" / recipe.id
    shards.mkdir(parents=True)
    digests = [f"{number:064x}" for number in range(count)]
    for start in range(0, count, 8192):
        part = slice(start, start + 8192)
        views = np.zeros(len(X[part]), np.uint16)
        write_shard(shards, recipe, digests[part], views, X[part])
    np.save(folder / "large.npy", X)
    with h5py.File(folder / "large.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(1, width))
    rows = tuple(Row(f"{number}.jpg", digest, "a") for number, digest in enumerate(digests))

    def ours() -> None:
        locate(folder / "large", [recipe], rows, ("a",)).gather(slice(None))

    def numpy() -> None:
        np.load(folder / "large.npy")

    def h5py_by_row() -> None:
        with h5py.File(folder / "large.h5") as file:
            file["X"][:]

    jobs = {
        "cache, every byte checked": ours,
        "numpy.load": numpy,
        "h5py, one row a chunk": h5py_by_row,
    }
    title = f"Reading {count:,} × {width:,} features, {X.nbytes / 1e6:,.0f} MB"
    show(title, alternate(jobs, ROUNDS), "cache, every byte checked", count)


def main() -> None:
    """Run them all in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder / "photos", IMAGES)
        reading(folder)
        extraction(folder)
        several_taps(folder)
        second_run(folder)
    heads.main()
    costs.main()


if __name__ == "__main__":
    main()
