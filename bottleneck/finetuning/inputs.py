"""Training inputs: images decoded ahead of use, or activations from the cache."""

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


class Inputs(Protocol):
    """Model inputs, one for each image, numbered from 0."""

    def batches(self, parts: Sequence[NDArray[np.int64]], view: int, /) -> Iterator[NDArray[Any]]:
        """Yield the inputs of each part in a view; view 0 is the plain one.

        Raises
        ------
        BottleneckError
            An image is missing or has changed.
        """
        ...


@dataclass(frozen=True)
class ImageInputs:
    """Images, read and decoded by threads while the model trains on the batch before.

    Attributes
    ----------
    root : str
        Folder or URL that the paths are relative to.
    rows : tuple of Row
    size : int
        Side of the square given to the base, in pixels.
    fit : {"squash", "crop"}
        Resize mode.
    augmentation : Augmentation
        How augmented views are made.
    workers : int
        Number of decoding threads.
    max_pixels : int
        Larger images are refused.
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
        """Yield uint8 pixels of each part, shape (n, size, size, 3)."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        ahead: deque[list[Future[NDArray[np.uint8]]]] = deque()
        reader = open_place(self.root)
        with pixel_limit():
            try:
                for part in parts:
                    ahead.append([pool.submit(self._decode, reader, int(n), view) for n in part])
                    # decode the next batches while the model trains on this one
                    if len(ahead) > 2:
                        yield np.stack([future.result() for future in ahead.popleft()])
                while ahead:
                    yield np.stack([future.result() for future in ahead.popleft()])
            finally:
                pool.shutdown(cancel_futures=True)

    def _decode(self, reader: Place, number: int, view: int) -> NDArray[np.uint8]:
        row = self.rows[number]
        try:
            data = reader.read(row.path)
            if digest_of(data) != row.digest:
                raise UnreadableImageError("the file has changed since its features were cached")  # noqa: TRY301
            pixels = decode(data, self.size, self.fit, self.max_pixels)
        except UnreadableImageError as error:
            raise BottleneckError(
                f"{row.path} in {self.root}: {error}; fine-tuning needs the images that the head was fitted on: "
                "put it back, or run bottleneck extract and fit-head again"
            ) from error
        return make_view(pixels, self.augmentation, row.digest, view)


@dataclass(frozen=True)
class CachedInputs:
    """Activations at a cut, read from the cache.

    Attributes
    ----------
    views : tuple of Located
        The same images in each view, the plain view first.
    """

    views: tuple[Located, ...]

    def batches(
        self, parts: Sequence[NDArray[np.int64]], view: int, /
    ) -> Iterator[NDArray[np.float32]]:
        """Yield float32 activations of each part, shape (n, height, width, channels)."""
        for part in parts:
            yield read_finite(self.views[view].take(part), slice(None))


@dataclass(frozen=True)
class TrainingData:
    """Inputs and labels of all splits.

    Attributes
    ----------
    inputs : Inputs
        The images of all splits, one split after the other.
    cut : str or None
        The tap whose activations the inputs are; None if they are images.
    splits : dict of str to slice
        The range of images that belongs to each split.
    y : ndarray of int64, shape (n,)
        Class of each image.
    classes : int
        Number of classes.
    """

    inputs: Inputs
    cut: str | None
    splits: Mapping[str, slice]
    y: NDArray[np.int64]
    classes: int

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the indices of a split's images."""
        return np.arange(len(self.y))[self.splits[split]]
