"""Which bytes the images hold: hashed where they may have changed, remembered where not."""

import hashlib
import operator
import time
from concurrent.futures import ThreadPoolExecutor

from bottleneck.cache.listing import Listing
from bottleneck.cache.rows import FAILED, OK, Row
from bottleneck.extraction.progress import Progress
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import Place, open_place
from bottleneck.images.source import ImageFile, ImageSet

# A file changed twice within one tick of the file system's clock looks unchanged after the second
# time. Ticks last up to 10 ms on Linux; a file modified this shortly before it was read is read again.
_CLOCK_TICK_NS = 20_000_000

# Files a thread looks at before it hands them over: to hand over each by itself takes several times
# as long as to find that it has not changed.
_AT_ONCE = 512


def scan(
    images: ImageSet, known: Listing | None, *, workers: int, retry_failed: bool, progress: Progress
) -> Listing:
    """List an image set with the digest of every image.

    A file whose size and modification time are those of the known listing is not opened, as in
    git's index. Only where it lies in the same place: files of another set, unpacked from an
    archive, may well agree in name, size and time.

    Parameters
    ----------
    images : ImageSet
    known : Listing or None
        What is known from before.
    workers : int
        Files read at the same time.
    retry_failed : bool
        Take images that failed before as not yet tried.
    progress : Progress

    Returns
    -------
    Listing
        Rows are ``failed`` where the file cannot be read, and where it failed before and has not
        changed since.
    """
    same_place = known is not None and known.root == images.root
    if known and same_place and _is_as_it_was(images, known, retry_failed):
        progress("scanning", len(known.rows), len(known.rows))
        return known
    before = {row.path: row for row in known.rows} if known and same_place else {}
    place = open_place(images.root)
    rows: list[Row | None] = []
    for path, label, split, _, stamp in images.files:
        row = before.get(path)
        # as `_look` finds it too, without a thread: to hand a file over takes longer than this
        if row is not None and not (
            stamp == (row.size, row.mtime_ns)
            and label == row.label
            and split == row.split
            and row.digest
            and not (retry_failed and row.status == FAILED)
        ):
            row = None
        rows.append(row)
    rest = [number for number, row in enumerate(rows) if row is None]

    def look(numbers: list[int]) -> list[Row]:
        files = [images.files[number] for number in numbers]
        return [_look(place, file, before.get(file.path), retry_failed) for file in files]

    done = len(rows) - len(rest)
    parts = [rest[n : n + _AT_ONCE] for n in range(0, len(rest), _AT_ONCE)]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="scan")
    try:
        for part, some in zip(parts, pool.map(look, parts), strict=True):
            for number, row in zip(part, some, strict=True):
                rows[number] = row
            done += len(part)
            progress("scanning", done, len(rows))
    finally:
        pool.shutdown(cancel_futures=True)
    return Listing(images.root, tuple(row for row in rows if row is not None))


def _is_as_it_was(images: ImageSet, known: Listing, retry_failed: bool) -> bool:
    """Tell whether each picture is as it is listed, by whole columns: one by one takes several times as long."""
    rows = known.rows
    if len(images.files) != len(rows) or (retry_failed and known.failed):
        return False
    paths, labels, splits, problems, stamps = zip(*images.files, strict=True)
    stamped = zip(rows.column("size"), rows.column("mtime_ns"), strict=True)
    return (
        not any(problems)
        and all(map(operator.eq, stamps, stamped))
        and list(paths) == rows.column("path")
        and list(labels) == rows.column("label")
        and list(splits) == rows.column("split")
        # of files that could not be read nothing is known
        and bool(rows.digests.present.all())
    )


def _look(place: Place, file: ImageFile, before: Row | None, retry_failed: bool) -> Row:
    row = Row(file.path, label=file.label, split=file.split)
    if file.problem is not None:
        return row._replace(status=FAILED, reason=file.problem)
    try:
        stamp = place.stamp(file.path) if file.stamp is None else file.stamp
    except UnreadableImageError as error:
        return row._replace(status=FAILED, reason=str(error))
    size, mtime_ns = stamp
    if before and before.digest and stamp == (before.size, before.mtime_ns):
        retried = before.status == FAILED and retry_failed
        if not retried and (before.label, before.split) == (file.label, file.split):
            return before
        return row._replace(
            digest=before.digest,
            status=OK if retried else before.status,
            reason="" if retried else before.reason,
            size=before.size,
            mtime_ns=before.mtime_ns,
        )
    now = time.time_ns()
    try:
        data = place.read(file.path)
    except UnreadableImageError as error:
        return row._replace(status=FAILED, reason=str(error))
    # looked at before it was read: what changes it from here on gives it another time
    settled = mtime_ns < now - _CLOCK_TICK_NS
    return row._replace(digest=digest_of(data), size=size, mtime_ns=mtime_ns if settled else -1)


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal, the same that ``sha256sum`` prints."""
    return hashlib.sha256(data).hexdigest()
