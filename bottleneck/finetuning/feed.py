"""What a graph is trained on: pictures, decoded ahead, or activations from the cache."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.extraction.scan import digest_of
from bottleneck.heads.probabilities import read_finite
from bottleneck.images.augment import Augmentation, make_view
from bottleneck.images.decode import Fit, UnreadableImageError, decode, pixel_limit
from bottleneck.images.place import Place, open_place


class Feed(Protocol):
    """Images as a graph takes them, numbered from 0."""

    def batches(self, parts: Sequence[NDArray[np.int64]], view: int, /) -> Iterator[NDArray[Any]]:
        """Give the images of each part, in a view: 0 is the plain one.

        Raises
        ------
        BottleneckError
            An image is not what it was, or not there any more.
        """
        ...


@dataclass(frozen=True)
class Pictures:
    """Pictures, read and decoded by threads while those before them are trained on.

    Attributes
    ----------
    root : str
        What paths start from.
    rows : tuple of Row
    size : int
        Side of the square shown to the base, in pixels.
    fit : {"squash", "crop"}
    augmentation : Augmentation
        How views are made.
    workers : int
        Threads.
    max_pixels : int
    """

    root: str
    rows: tuple[Row, ...]
    size: int
    fit: Fit
    augmentation: Augmentation
    workers: int
    max_pixels: int

    def batches(
        self, parts: Sequence[NDArray[np.int64]], view: int, /
    ) -> Iterator[NDArray[np.uint8]]:
        """Give uint8 pixels of each part, shape (n, size, size, 3)."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        ahead: deque[list[Future[NDArray[np.uint8]]]] = deque()
        place = open_place(self.root)
        with pixel_limit():
            try:
                for part in parts:
                    ahead.append([pool.submit(self._picture, place, int(n), view) for n in part])
                    # one batch is decoded while the one before is trained on
                    if len(ahead) > 2:
                        yield np.stack([future.result() for future in ahead.popleft()])
                while ahead:
                    yield np.stack([future.result() for future in ahead.popleft()])
            finally:
                pool.shutdown(cancel_futures=True)

    def _picture(self, place: Place, number: int, view: int) -> NDArray[np.uint8]:
        row = self.rows[number]
        try:
            data = place.read(row.path)
            if digest_of(data) != row.digest:
                raise UnreadableImageError("it is another picture than the cache knows")  # noqa: TRY301
            pixels = decode(data, self.size, self.fit, self.max_pixels)
        except UnreadableImageError as error:
            raise BottleneckError(
                f"{row.path} in {self.root}: {error}; fine-tuning needs the pictures the head was fitted on: put it "
                "back, or run bottleneck extract and fit-head again"
            ) from error
        return make_view(pixels, self.augmentation, row.digest, view)


@dataclass(frozen=True)
class Activations:
    """Activations at a cut, from the cache.

    Attributes
    ----------
    views : tuple of Located
        The same images in each view; the plain one first.
    """

    views: tuple[Located, ...]

    def batches(
        self, parts: Sequence[NDArray[np.int64]], view: int, /
    ) -> Iterator[NDArray[np.float32]]:
        """Give float32 activations of each part, shape (n, height, width, channels)."""
        for part in parts:
            yield read_finite(self.views[view].take(part), slice(None))


@dataclass(frozen=True)
class Material:
    """What a graph is trained on.

    Attributes
    ----------
    feed : Feed
        Images of all splits, one after the other.
    cut : str or None
        Where the feed's activations are taken; None where it gives pictures.
    places : dict of str to slice
        Where the images of each split are.
    y : ndarray of int64, shape (n,)
        Their classes.
    classes : int
    """

    feed: Feed
    cut: str | None
    places: Mapping[str, slice]
    y: NDArray[np.int64]
    classes: int

    def numbers(self, split: str) -> NDArray[np.int64]:
        """The images of a split, by their numbers in the feed."""
        return np.arange(len(self.y))[self.places[split]]


def in_order(count: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Divide images into batches, in order; all of them of one size but the last."""
    return [
        np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)
    ]
