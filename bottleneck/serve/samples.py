"""Images to test an export on: those of the run, if they still exist."""

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

# Enough for every class of a small set; a base needs only seconds for them.
COUNT = 8


def write_samples(run: Run, folder: Path, into: Path) -> str:
    """Write images of the run's validation split to files, or generated ones if those are gone.

    Parameters
    ----------
    run : Run
    folder : Path
        The run's folder.
    into : Path
        An empty folder.

    Returns
    -------
    str
        Description of the images.
    """
    count = 0
    for count, data in enumerate(_read_validation_images(run, folder), start=1):
        # the format is detected from the contents, not from the name
        (into / f"{count}.jpg").write_bytes(data)
    if count:
        return f"{count} images of its validation split"
    for number in range(COUNT):
        # blurred spots of colour are closer to photographs than noise is
        spots = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        size = (run.recipes[0].image_size,) * 2
        image = Image.fromarray(spots).resize(size, Image.Resampling.BILINEAR)
        image.save(into / f"{number}.png")
    return f"{COUNT} generated images (its own cannot be found)"


def _read_validation_images(run: Run, folder: Path) -> Iterator[bytes]:
    """Yield unchanged images, evenly spread over the validation split."""
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
    recipe, images = run.recipes[0], open_place(listing.root)
    for index in np.linspace(0, len(paths) - 1, min(COUNT, len(paths)), dtype=int):
        path = paths[index]
        try:
            data = images.read(path)
            if digest_of(data) == digests.get(path):
                decode(data, recipe.image_size, recipe.fit)
                yield data
        except UnreadableImageError:
            continue
