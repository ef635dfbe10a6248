"""Small pictures to put into a page."""

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

# Large enough to tell an ant from a bee; some 2 kB each.
SIDE = 88
_QUALITY = 72


def thumbnails(
    root: str, rows: Sequence[Row], fit: Fit, progress: Progress
) -> dict[str, str | None]:
    """Make a small picture of each image, as its base saw it.

    Parameters
    ----------
    root : str
        What paths start from.
    rows : sequence of Row
    fit : {"squash", "crop"}
        How the recipe brings pictures to a square.
    progress : callable

    Returns
    -------
    dict of str to (str or None)
        By digest, a ``data:`` address; None where the file is gone, or is another by now.
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
        # what is of another size need not be read
        if row.size not in (-1, place.stamp(row.path)[0]):
            return None
        data = place.read(row.path)
        if hashlib.sha256(data).hexdigest() != row.digest:
            return None
        pixels = decode(data, SIDE, fit)
    except (OSError, ValueError, UnreadableImageError):  # ValueError: a name no file can have
        return None
    small = io.BytesIO()
    Image.fromarray(pixels).save(small, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"
