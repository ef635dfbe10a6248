"""Thumbnails for a report."""

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from bottleneck.cache.rows import Row
from bottleneck.extraction.progress import Progress
from bottleneck.images.decode import Fit, UnreadableImageError, decode, pixel_limit
from bottleneck.images.place import Place, open_place

# Pixels: large enough to tell an ant from a bee, and about 2 kB each.
SIDE = 88
_QUALITY = 72


def thumbnails(
    root: str, rows: Sequence[Row], fit: Fit, progress: Progress
) -> dict[str, str | None]:
    """Make a thumbnail of each image, resized as for its base.

    Parameters
    ----------
    root : str
        Folder that paths are relative to.
    rows : sequence of Row
    fit : {"squash", "crop"}
        How the recipe resizes images to a square.
    progress : callable

    Returns
    -------
    dict of str to (str or None)
        By digest, a ``data:`` URL; None if the file is missing or has changed.
    """
    wanted = list({row.digest: row for row in rows}.values())
    found: dict[str, str | None] = {}
    place = open_place(root)
    with pixel_limit(), ThreadPoolExecutor(os.cpu_count()) as threads:
        made = threads.map(lambda row: _thumbnail(place, row, fit), wanted)
        for row, address in zip(wanted, made, strict=True):
            found[row.digest] = address
            progress("thumbnails", len(found), len(wanted))
    return found


def _thumbnail(place: Place, row: Row, fit: Fit) -> str | None:
    try:
        # a file of another size has changed, and need not be read
        if row.size not in (-1, place.stamp(row.path)[0]):
            return None
        data = place.read(row.path)
        if hashlib.sha256(data).hexdigest() != row.digest:
            return None
        pixels = decode(data, SIDE, fit)
    except (OSError, ValueError, UnreadableImageError):  # ValueError: a name that no file can have
        return None
    small = io.BytesIO()
    Image.fromarray(pixels).save(small, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"
