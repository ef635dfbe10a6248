"""The plan for a very large set, without pictures: `python -m benchmarks.plan [ROWS]`.

A listing of so many images and shards that hold all but one in a hundred of them are made up. What is
measured is what `extract` does before the first picture is opened: the listing is read, every byte of the
shards is checked, and what is missing is put into tasks.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bottleneck.cache.digests import Digests
from bottleneck.cache.listing import Listing, read_listing, write_listing
from bottleneck.cache.recipe import Recipe
from bottleneck.cache.rows import Coded, Rows, find_paths
from bottleneck.cache.shard import write_shard
from bottleneck.cache.survey import survey
from bottleneck.extraction.engines.protocol import BATCH_SIZE
from bottleneck.extraction.plan import Target, missing_items, plan_tasks, rows_per_task

ROWS = 10_000_000
NEW = 100  # one in so many is not computed yet
WIDTH = 2048  # of the features that are planned; those made up are one number each

# What a shard of 16 MB holds of so many numbers.
ROWS_PER_SHARD = rows_per_task(4 * WIDTH, BATCH_SIZE)

RECIPE = Recipe("inception_v3", "mixed10", "avg", "random-0", "", 299, "squash", "")


def make(cache: Path, count: int) -> None:
    """Make up a listing and the shards of all images but the new ones."""
    digests = Digests(np.random.default_rng(0).integers(0, 2**64, (count, 4), np.uint64))
    text = np.frombuffer(
        "\0".join(f"class{n % 1000}/{n:08d}.jpg" for n in range(count)).encode(), np.uint8
    )
    labels = tuple(f"class{n}" for n in range(1000))
    nought = np.zeros(count, np.uint8)
    coded = {
        "label": Coded((np.arange(count) % 1000).astype(np.uint16), labels),
        "split": Coded(nought, ("",)),
        "status": Coded(nought, ("ok",)),
        "reason": Coded(nought, ("",)),
    }
    numbers = {name: np.arange(count) for name in ("size", "mtime_ns")}
    write_listing(
        cache, Listing("/pictures", Rows(text, *find_paths(text, count), digests, coded, numbers))
    )
    folder = cache / "features" / RECIPE.id
    folder.mkdir(parents=True)
    for start in range(0, count, ROWS_PER_SHARD):
        places = np.arange(start, min(start + ROWS_PER_SHARD, count))
        held = digests[places[places % NEW > 0]]
        write_shard(
            folder,
            RECIPE,
            held,
            np.zeros(len(held), np.uint16),
            np.zeros((len(held), 1), np.float16),
        )


def plan(cache: Path) -> None:
    """Plan, and print how long each step took and how much memory it all took."""
    before = _peak()
    started = time.perf_counter()
    listing = read_listing(cache)
    assert listing is not None
    read = time.perf_counter()
    found = survey(cache / "features" / RECIPE.id)
    assert not found.damaged
    surveyed = time.perf_counter()
    items = missing_items(listing.ok, [Target(RECIPE, range(1), found.held)])
    tasks = plan_tasks(items, ROWS_PER_SHARD)
    planned = time.perf_counter()
    print(
        f"{len(listing.rows):,} images, {found.shards:,} shards: {len(items):,} missing, {len(tasks)} tasks"
    )
    print(f"  listing read    {read - started:6.1f} s")
    print(f"  shards checked  {surveyed - read:6.1f} s")
    print(f"  planned         {planned - surveyed:6.1f} s")
    print(f"  peak of memory  {_peak():6,.0f} MB, {before:,.0f} MB of them before it began")


def _peak() -> float:
    """Most memory this process has had, in MB; unlike that of `resource`, without what it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(count: int) -> None:
    """Make it up in a folder that is thrown away, and plan in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), count)
        subprocess.run([sys.executable, "-m", "benchmarks.plan", "plan", name], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["plan"]:
        plan(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else ROWS)
