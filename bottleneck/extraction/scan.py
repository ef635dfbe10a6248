"""Which bytes the images hold: remembered where they cannot have changed, read where they may have."""

import hashlib
import itertools
import operator
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.listing import Listing
from bottleneck.cache.rows import FAILED, OK, UNREAD, Row, Rows
from bottleneck.errors import BottleneckError
from bottleneck.extraction.progress import Progress
from bottleneck.images.decode import UnreadableImageError
from bottleneck.images.place import Place, Stamp, open_place
from bottleneck.images.source import ImageFile, ImageSet
from bottleneck.remote import is_url, request_threads

# A file changed twice within one tick of the file system's clock looks unchanged after the second
# time. Ticks last up to 10 ms on Linux; a file modified this shortly before it was read is read again.
_CLOCK_TICK_NS = 20_000_000

# Files a thread looks at before it hands them over: to hand over each by itself takes several times
# as long as to find that it has not changed.
_AT_ONCE = 512

# Parts for each thread at least, of files that are read: so that all are at it to the end.
_PARTS = 8


def scan(
    images: ImageSet, known: Listing | None, *, workers: int, retry_failed: bool, progress: Progress
) -> Listing:
    """List an image set with the digest of every image.

    Parameters and notes are those of `recall`, which it is followed by reading what that leaves unread.

    Returns
    -------
    Listing
        Rows are ``failed`` where the file cannot be read, and where it failed before and has not
        changed since.
    """
    listing = recall(images, known, workers=workers, retry_failed=retry_failed, progress=progress)
    return hash_unread(listing, workers=workers, progress=progress)


def hash_unread(listing: Listing, *, workers: int, progress: Progress) -> Listing:
    """Read the pictures of a listing that are unread, for their digests.

    Parameters
    ----------
    listing : Listing
        As `recall` gives it.
    workers : int
        Files read at the same time.
    progress : Progress

    Returns
    -------
    Listing
        Rows are ``failed`` where the file cannot be read.
    """
    unread = listing.unread
    if not unread:
        return listing
    place = open_place(listing.root)

    def read(some: Sequence[Row]) -> list[Row]:
        return [_read(place, row) for row in some]

    each = max(min(len(unread) // (workers * _PARTS), _AT_ONCE), 1)
    parts = [unread[n : n + each] for n in range(0, len(unread), each)]

    def whole() -> Iterator[Row]:
        done = 0
        with request_threads(workers, "scan") as pool:
            for rows in pool.map(read, parts):
                yield from rows
                done += len(rows)
                progress("hashing", done, len(unread))

    places = np.flatnonzero(listing.rows.coded["status"].equal_to(UNREAD))
    return Listing(listing.root, listing.rows.replace(places, whole()))


def recall(
    images: ImageSet, known: Listing | None, *, workers: int, retry_failed: bool, progress: Progress
) -> Listing:
    """List an image set with the digests that are known, without reading a picture.

    A file whose size and modification time are those of the known listing is taken to be the same, as in
    git's index. Only where it lies in the same place: files of another set, unpacked from an
    archive, may well agree in name, size and time.

    Parameters
    ----------
    images : ImageSet
    known : Listing or None
        What is known from before.
    workers : int
        Files looked at, or read, at the same time.
    retry_failed : bool
        Take images that failed before as not yet tried.
    progress : Progress

    Returns
    -------
    Listing
        Rows are ``unread`` where the file is new or may have changed, and ``failed`` where it cannot be found,
        or failed before and has not changed since.
    """
    before = known.rows if known is not None and known.root == images.root else Rows.of(())
    at = _places_before(images, before)
    same = _unchanged(images, before, at, retry_failed)
    done = int(same.sum())
    progress("scanning", done, len(at))
    if known is not None and done == len(before) and np.array_equal(at, np.arange(len(before))):
        return known
    place, now = open_place(images.root), time.time_ns()

    def look(numbers: NDArray[np.int64]) -> list[Row]:
        known_before = numbers[at[numbers] >= 0]
        rows = dict(zip(known_before.tolist(), before.take(at[known_before]), strict=True))
        return [
            _look(place, images.files[number], rows.get(number), retry_failed, now)
            for number in numbers.tolist()
        ]

    def looked() -> Iterator[Row]:
        nonlocal done
        others = np.flatnonzero(~same)
        parts = [others[n : n + _AT_ONCE] for n in range(0, len(others), _AT_ONCE)]
        with request_threads(workers, "scan") as pool:
            for rows in pool.map(look, parts):
                yield from rows
                done += len(rows)
                progress("scanning", done, len(at))

    order = np.empty(len(at), np.int64)
    order[np.flatnonzero(same)] = np.arange(done)
    order[np.flatnonzero(~same)] = np.arange(done, len(at))
    found = Rows.join([before.take(at[same]), Rows.of(looked())]).take(order)
    return Listing(images.root, found)


# Of many pictures few change as a rule, so they are compared by whole columns: one by one takes several times as
# long.


def _places_before(images: ImageSet, before: Rows) -> NDArray[np.int64]:
    """Tell which row each picture had before; -1 for none."""
    paths, known = [file.path for file in images.files], before.column("path")
    if paths == known:
        return np.arange(len(paths))
    places = {path: place for place, path in enumerate(known)}
    return np.fromiter((places.get(path, -1) for path in paths), np.int64, len(paths))


def _unchanged(
    images: ImageSet, before: Rows, at: NDArray[np.int64], retry_failed: bool
) -> NDArray[np.bool_]:
    """Tell for each picture whether it has not changed, nor what is known of it."""
    count = len(at)
    if not len(before):
        return np.zeros(count, bool)
    rows = before.take(np.maximum(at, 0))
    _, labels, splits, problems, stamps = zip(*images.files, strict=True)
    numbers = itertools.chain.from_iterable(stamp or _NO_STAMP for stamp in stamps)
    sizes, times = np.fromiter(numbers, np.int64, 2 * count).reshape(-1, 2).T
    same: NDArray[np.bool_] = (
        (at >= 0) & (sizes == rows.numbers["size"]) & (times == rows.numbers["mtime_ns"])
    )
    same &= rows.digests.present  # of files that could not be read nothing is known
    same &= np.fromiter(map(operator.eq, labels, rows.column("label")), bool, count)
    same &= np.fromiter(map(operator.eq, splits, rows.column("split")), bool, count)
    same &= np.fromiter((problem is None for problem in problems), bool, count)
    if retry_failed:
        same &= ~rows.coded["status"].equal_to(FAILED)
    return same


# No file's: a listing says -1 where it does not know.
_NO_STAMP = (-2, -2)


def _look(place: Place, file: ImageFile, before: Row | None, retry_failed: bool, now: int) -> Row:
    if file.stamp is not None or file.problem is not None:
        return _recalled(file, file.stamp, before, retry_failed, now)
    now = time.time_ns()
    try:
        stamp = place.stamp(file.path)
    except UnreadableImageError as error:
        return Row(file.path, label=file.label, split=file.split, status=FAILED, reason=str(error))
    return _recalled(file, stamp, before, retry_failed, now)


def _recalled(
    file: ImageFile, stamp: Stamp | None, before: Row | None, retry_failed: bool, now: int
) -> Row:
    """Say what is known of a file that was looked at before `now`, in nanoseconds."""
    if file.problem is not None or stamp is None:
        return Row(
            file.path,
            label=file.label,
            split=file.split,
            status=FAILED,
            reason=file.problem or "",
        )
    size, mtime_ns = stamp
    # some web servers tell nothing by which a change would be noticed
    told = before is not None and before.digest and mtime_ns != -1
    if before is not None and told and stamp == (before.size, before.mtime_ns):
        retried = before.status == FAILED and retry_failed
        if not retried and (before.label, before.split) == (file.label, file.split):
            return before
        return before._replace(
            label=file.label,
            split=file.split,
            status=OK if retried else before.status,
            reason="" if retried else before.reason,
        )
    # it is read from here on: what changes it after that gives it another time
    settled = mtime_ns < now - _CLOCK_TICK_NS
    return Row(
        file.path,
        label=file.label,
        split=file.split,
        status=UNREAD,
        size=size,
        mtime_ns=mtime_ns if settled else -1,
    )


def _read(place: Place, row: Row) -> Row:
    try:
        return row._replace(digest=digest_of(place.read(row.path, row.size)), status=OK)
    except UnreadableImageError as error:
        return unreadable(row, str(error))


def unreadable(row: Row, reason: str) -> Row:
    """Mark a row as failed of whose bytes nothing is known: they are read again next time."""
    return row._replace(digest="", status=FAILED, reason=reason, size=-1, mtime_ns=-1)


def refuse_nothing_read(listing: Listing) -> None:
    """Refuse a listing behind a URL of which not one image could be read.

    Raises
    ------
    BottleneckError
        It is one: its store is at fault and not its images.
    """
    rows = listing.rows
    if not len(rows) or rows.digests.present.any():
        return
    if is_url(listing.root) or is_url(rows[0].path):
        reason = max(reasons := rows.column("reason"), key=reasons.count)
        raise BottleneckError(
            f"none of the {len(rows):,} images in {listing.root} could be read: {reason}; the cache's listing is "
            "left as it was"
        )


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal, the same that ``sha256sum`` prints."""
    return hashlib.sha256(data).hexdigest()
