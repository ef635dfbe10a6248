"""`make bench`."""

import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from benchmarks import costs, extraction, heads
from benchmarks.extraction import Setup, conveyor
from benchmarks.pictures import write_photographs
from benchmarks.timing import alternate, show
from bottleneck.cache.features import locate
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import write_shard
from bottleneck.extraction.extract import extract
from bottleneck.heads.fit import fit_head

IMAGES, SIZE, ROUNDS = 96, 299, 3

# the five highest ends of blocks
TAPS = ["mixed6", "mixed7", "mixed8", "mixed9", "mixed10"]


def several_taps(folder: Path) -> None:
    """Five taps in one pass against the highest alone."""
    setup = Setup(folder / "photos", folder, "random", SIZE)
    jobs = {
        "mixed10 alone": conveyor(setup, "auto"),
        "five taps in one pass": conveyor(setup, "auto", taps=TAPS),
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
    extraction.main(sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photographs(folder / "photos", IMAGES)
        reading(folder)
        several_taps(folder)
        second_run(folder)
    heads.main()
    costs.main()


if __name__ == "__main__":
    main()
