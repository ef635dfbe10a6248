"""Costs that must stay flat, however many images there are: `python -m benchmarks.costs`.

Nothing changed, memory, opening and loading: each against the least anybody could do, side by side.
"""

import io
import itertools
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import alternate, show
from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.recipe import Recipe, RecipeFile, write_recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import write_shard
from bottleneck.cache.store import FeatureCache
from bottleneck.extraction.extract import extract
from bottleneck.extraction.progress import no_progress
from bottleneck.extraction.scan import scan
from bottleneck.images.source import read_source

ROUNDS = 5
FILES, WIDTH = 50_000, 2048
ROWS, SHARDS = 1_000_000, 1_000
FEW, MANY = 1_000, 100_000

# The least a base takes, for what is asked here does not depend on it.
BASE = {"base": "mobilenet_0.25", "weights": "random", "image_size": 32}


def write_pictures(folder: Path, count: int) -> None:
    """Write so many tiny pictures in ten folders, no two with the same bytes."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 40)).save(file, "PNG")
    for number in range(count):
        place = folder / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        # what follows a picture's end is passed over
        (place / f"{number:06d}.png").write_bytes(file.getvalue() + str(number).encode())


def write_features(cache: Path, recipe: Recipe, digests: list[str], width: int, rows: int) -> None:
    """Write shards of made-up features, so many rows in each, in the type of the recipe."""
    rng = np.random.default_rng(0)
    for start in range(0, len(digests), rows):
        part = digests[start : start + rows]
        X = rng.standard_normal((len(part), width), np.float32).astype(recipe.dtype)
        views = np.zeros(len(part), np.uint16)
        write_shard(cache / "features" / recipe.id, recipe, part, views, X)


def nothing_changed(folder: Path) -> None:
    """`extract` where all is there, against a bare walk that looks at each file."""
    images, cache = folder / "pictures", folder / "unchanged"
    write_pictures(images, FILES)
    inception = {"weights": "random", "image_size": 75}
    extract(images / "class0" / "000000.png", cache, **inception)
    (recipe,) = FeatureCache(cache).recipes
    found = read_source(images)
    listing = scan(found, None, workers=2, retry_failed=False, progress=no_progress)
    write_features(cache, recipe, [row.digest for row in listing.rows], WIDTH, 8192)
    write_listing(cache, listing)

    def again() -> None:
        assert extract(images, cache, **inception).computed == 0

    changed = itertools.count()

    def one_changed() -> None:
        file = images / "class3" / "000003.png"
        file.write_bytes(file.read_bytes() + f" changed {next(changed)}".encode())
        assert extract(images, cache, **inception).computed == 1

    def one_alone() -> None:
        alone = folder / "alone" / f"{next(changed)}.png"
        alone.parent.mkdir(exist_ok=True)
        shutil.copy(images / "class3" / "000003.png", alone)
        assert extract(alone, folder / f"cache of {alone.stem}", **inception).computed == 1

    def walk() -> None:
        for place, _, names in os.walk(images):
            for name in names:
                os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118

    jobs = {
        "os.walk and os.stat": walk,
        "extract, nothing changed": again,
        "extract, one changed": one_changed,
        "extract of one by itself": one_alone,
    }
    title = f"{FILES:,} unchanged files, every byte of {4 * WIDTH * FILES / 1e6:,.0f} MB checked"
    show(title, alternate(jobs, ROUNDS), "os.walk and os.stat", FILES)


def memory(folder: Path) -> None:
    """Peak of memory of an extraction, by the number of images."""
    peaks = {}
    for count in (FEW, MANY):
        images = folder / f"{count}"
        write_pictures(images, count)
        command = [sys.executable, "-m", "benchmarks.costs", "peak", images, folder / f"of-{count}"]
        peaks[count] = float(subprocess.check_output(command))
    print("\nPeak of memory of an extraction")
    for count, peak in peaks.items():
        print(f"  {count:>8,} images  {peak:8,.0f} MB  {peak - peaks[FEW]:+8,.0f}")


def peak(images: str, cache: str) -> None:
    """Print how many MB one extraction takes at most."""
    assert extract(images, cache, **BASE).failed == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def opening(folder: Path) -> None:
    """Open a large cache: find its recipes and read its listing into rows.

    Its shards are not opened: that is left to who loads their features, and checks their bytes.
    """
    cache = folder / "large"
    recipe = Recipe("inception_v3", "mixed10", "avg", "random-0", "", 299, "squash", "")
    (cache / "features" / recipe.id).mkdir(parents=True)
    write_recipe(cache / "features" / recipe.id, RecipeFile(recipe, "random", ()))
    digests = [f"{number:064x}" for number in range(ROWS)]
    write_features(cache, recipe, digests, 8, ROWS // SHARDS)
    rows = (
        Row(f"class{n % 1000}/{n:08d}.jpg", digest, f"class{n % 1000}", size=n, mtime_ns=n)
        for n, digest in enumerate(digests)
    )
    write_listing(cache, Listing(str(folder), rows))
    del digests
    used = []
    for _ in range(ROUNDS):
        started = time.process_time()
        store = FeatureCache(cache)
        assert len(store.recipes) == 1
        assert len(store.listing.ok) == ROWS
        used.append(time.process_time() - started)
    print(f"\nOpening a cache of {ROWS:,} rows in {SHARDS:,} shards")
    print(f"  processor time {min(used):.2f} to {max(used):.2f} s")


def loading(folder: Path) -> None:
    """Load half-precision features, every byte checked, against reading the same bytes."""
    cache, plain = folder / "half", folder / "half.bin"
    recipe = Recipe(
        "inception_v3", "mixed10", "avg", "random-0", "", 299, "squash", "", dtype="float16"
    )
    (cache / "features" / recipe.id).mkdir(parents=True)
    write_recipe(cache / "features" / recipe.id, RecipeFile(recipe, "random", ()))
    digests = [f"{number:064x}" for number in range(FILES)]
    write_features(cache, recipe, digests, WIDTH, 16384)
    rows = tuple(Row(f"{number}.jpg", digest) for number, digest in enumerate(digests))
    write_listing(cache, Listing(str(folder), rows))
    np.zeros((FILES, WIDTH), np.float16).tofile(plain)
    jobs = {
        "numpy.fromfile": lambda: np.fromfile(plain, np.float16),
        "numpy.fromfile, as float32": lambda: np.fromfile(plain, np.float16).astype(np.float32),
        "load, as float32": lambda: FeatureCache(cache).load(),
        "load, as stored": lambda: FeatureCache(cache).load(dtype="float16"),
    }
    title = f"Loading {FILES:,} × {WIDTH:,} in half precision"
    show(title, alternate(jobs, ROUNDS), "numpy.fromfile", FILES)


def starting(folder: Path) -> None:
    """Show the help, against the start of Python with what any such command line loads."""
    command = Path(sys.executable).with_name("bottleneck")
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "check": True}
    jobs = {
        "import typer, rich": lambda: subprocess.run(
            [sys.executable, "-c", "import typer, rich"], **quiet
        ),
        "bottleneck --help": lambda: subprocess.run([command, "--help"], **quiet),
    }
    show("Starting", alternate(jobs, 5 * ROUNDS), "import typer, rich", 1)


def main() -> None:
    """Run them all in a folder that is thrown away."""
    logging.getLogger("bottleneck").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        for part in (starting, loading, nothing_changed, opening, memory):
            part(Path(name))


if __name__ == "__main__":
    peak(*sys.argv[2:]) if sys.argv[1:2] == ["peak"] else main()
