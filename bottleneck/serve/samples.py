"""A few pictures to try an export with: the run's own, where they can be had."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bottleneck.cache.listing import read_listing
from bottleneck.cache.mirror import local_folder
from bottleneck.errors import BottleneckError
from bottleneck.extraction.scan import digest_of
from bottleneck.images.decode import UnreadableImageError, decode
from bottleneck.images.place import open_place
from bottleneck.runs.run import Run
from bottleneck.runs.table import PREDICTIONS

# Enough for every class of a small set; to run a base on them takes seconds.
COUNT = 8


def write_samples(run: Run, folder: Path, into: Path) -> str:
    """Write pictures of the run's validation split to files, or others where those are gone.

    Parameters
    ----------
    run : Run
    folder : Path
        Where it lies.
    into : Path
        An empty folder.

    Returns
    -------
    str
        What pictures they are.
    """
    count = 0
    for count, data in enumerate(_own(run, folder), start=1):
        # the format is told from the contents, never from the name
        (into / f"{count}.jpg").write_bytes(data)
    if count:
        return f"{count} pictures of its validation split"
    for number in range(COUNT):
        # blurred spots of colour, some dark and some bright: nearer to photographs than noise is
        spots = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        size = (run.recipes[0].image_size,) * 2
        picture = Image.fromarray(spots).resize(size, Image.Resampling.BILINEAR)
        picture.save(into / f"{number}.png")
    return f"{COUNT} made-up pictures (its own cannot be found)"


def _own(run: Run, folder: Path) -> Iterator[bytes]:
    """Read pictures of the validation split, evenly spread over it, that are as they were."""
    try:
        with (folder / PREDICTIONS).open(
            newline="", encoding="utf-8", errors="surrogateescape"
        ) as lines:
            paths = [row[0] for row in csv.reader(lines) if row[2:3] == ["val"]]
        listing = read_listing(local_folder(run.cache))
    except (OSError, csv.Error, BottleneckError):
        return
    if listing is None or not paths:
        return
    digests = {row.path: row.digest for row in listing.ok}
    recipe, pictures = run.recipes[0], open_place(listing.root)
    for place in np.linspace(0, len(paths) - 1, min(COUNT, len(paths)), dtype=int):
        path = paths[place]
        try:
            data = pictures.read(path)
            if digest_of(data) == digests.get(path):
                decode(data, recipe.image_size, recipe.fit)
                yield data
        except UnreadableImageError:
            continue
