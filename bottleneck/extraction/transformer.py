"""The cache as a scikit-learn transformer: from images to features."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from bottleneck.bases.network import Pool
from bottleneck.cache.features import locate
from bottleneck.cache.listing import Listing, read_listing, write_listing
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.recipe import Dtype, Precision
from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.ensure import ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.missing import CachedFeatures, find_targets, readable_recipes
from bottleneck.extraction.plan import missing_items
from bottleneck.extraction.progress import no_progress
from bottleneck.extraction.request import FeatureRequest, make_request
from bottleneck.extraction.scan import digest_of, scan
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.images.decode import Fit
from bottleneck.images.ppm import as_ppm, is_pixels
from bottleneck.images.source import ImageFile, ImageSet

# Seconds to wait for another process that fills the same cache, as the jobs of a grid search do.
_PATIENCE = 3600.0


class BottleneckFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of images from a frozen base, each computed once and kept in a cache.

    There is nothing to fit, so it may stand in any pipeline, cross-validation or grid search (over
    `base` and `tap` too): the base runs once for each image, however often it is asked for.

    Parameters
    ----------
    base : str or path
        Name of the base, or a ``.keras`` file that holds a network of your own.
    preprocessing : {"tf", "caffe", "torch", "none"}, optional
        For such a file: what its network expects of pixels.
    tap : str or sequence of str, optional
        The layer to keep; features of several are put side by side. By default the last.
    pool : {"avg", "max", "none"}
        How a tap's map becomes a vector. Maps that are kept are flattened.
    weights : str or path, optional
        As for `bottleneck.extract`.
    image_size : int, optional
        Side of the square shown to the base, in pixels; by default what it was trained on.
    resize : {"squash", "crop"}
        Scale both sides, or keep proportions and the centre. (`fit` elsewhere, which here is a
        method.)
    precision : {"float32", "bfloat16", "float16", "int8"}
    dtype : {"float32", "float16"}, optional
    seed : int
        For random weights.
    cache : path
        The cache's folder; made if need be.
    batch_size : int, optional
    workers : int, optional
        Images decoded at the same time.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> features = BottleneckFeatures(weights="random", image_size=75, cache=example_cache)
    >>> paths = sorted(example_images.rglob("*.jpg"))
    >>> labels = [path.parent.name for path in paths]
    >>> model = make_pipeline(features, LogisticRegression()).fit(paths, labels)
    >>> model[0].transform(paths).shape, model.predict(paths[:1])
    ((6, 2048), array(['flower'], dtype='<U6'))
    """

    def __init__(
        self,
        base: str | os.PathLike[str] = "inception_v3",
        *,
        preprocessing: str | None = None,
        tap: str | Sequence[str] | None = None,
        pool: Pool = "avg",
        weights: str | os.PathLike[str] | None = None,
        image_size: int | None = None,
        resize: Fit = "squash",
        precision: Precision = "float32",
        dtype: Dtype | None = None,
        seed: int = 0,
        cache: str | os.PathLike[str] = "cache/features",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.base = base
        self.preprocessing = preprocessing
        self.tap = tap
        self.pool = pool
        self.weights = weights
        self.image_size = image_size
        self.resize = resize
        self.precision = precision
        self.dtype = dtype
        self.seed = seed
        self.cache = cache
        self.batch_size = batch_size
        self.workers = workers

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - the signature of scikit-learn
        """Check the parameters.

        Raises
        ------
        BottleneckError
            There is no such base, tap, pool or weights file.
        """
        self._request()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Give the features of images, computing those the cache lacks.

        Parameters
        ----------
        X : sequence of path, or ndarray of uint8, shape (n, height, width, 3)
            Paths of images in any format we read; or RGB pixels, also as a sequence of arrays of
            different sizes.

        Returns
        -------
        ndarray of float32, shape (n, d)
            In the order of `X`.

        Raises
        ------
        BottleneckError
            An image cannot be used, or the weights cannot be had.
        """
        cache, request = local_folder(self.cache), self._request()
        threads = Settings().workers if self.workers is None else self.workers
        settings = Settings(self.batch_size, threads)
        with writer_lock(cache, patience=_PATIENCE), tempfile.TemporaryDirectory() as scratch:
            listing, whole = _list(X, cache, request, Path(scratch), threads)
            ensured = ensure_features(cache, listing, request, Execution(settings), locked=True)
            if whole is not None:
                known = {row.path: row for row in (*whole.rows, *ensured.listing.rows)}
                write_listing(cache, Listing(whole.root, tuple(known.values())))
        rows = _usable(ensured)
        found = locate(cache, ensured.recipes, rows, ()).gather(slice(None))
        return found.X.reshape(len(rows), -1)

    def _request(self) -> FeatureRequest:
        return make_request(
            FeatureSpec(
                self.base,
                self.weights,
                preprocessing=self.preprocessing,
                tap=self.tap,
                pool=self.pool,
                image_size=self.image_size,
                resize=self.resize,
                precision=self.precision,
                dtype=self.dtype,
                seed=self.seed,
            )
        )


def _list(
    X: Any, cache: Path, request: FeatureRequest, scratch: Path, threads: int
) -> tuple[Listing, Listing | None]:
    """List images, and give the listing they are to be added to, if any."""
    if len(X) == 0:
        raise BottleneckError("BottleneckFeatures was given no images; it takes one or more")
    if all(isinstance(x, (str, os.PathLike)) for x in X):
        # every path absolute: a set has one root, and these come from anywhere
        root = Path.cwd().anchor
        files = tuple(ImageFile(str(Path(x).absolute())) for x in X)
        whole = read_listing(cache) or Listing(root, ())
        # a cache that was made of a folder keeps the listing of that folder
        mine = whole if whole.root == root else None
        listing = scan(
            ImageSet(root, files),
            mine,
            workers=threads,
            retry_failed=False,
            progress=no_progress,
        )
        return listing, mine
    contents = [_ppm(x) for x in X]
    rows = [Row(f"{digest}.ppm", digest) for digest in map(digest_of, contents)]
    # only what has to be computed is written, for the conveyor to read
    digest = request.find_digest(readable_recipes(cache))
    targets = None if digest is None else find_targets(cache, request.recipes(digest), 0)[0]
    missing = (
        {row.digest for row in rows}
        if targets is None
        else {item.digest for item in missing_items(rows, targets)}
    )
    for row, content in zip(rows, contents, strict=True):
        if row.digest in missing:
            (scratch / row.path).write_bytes(content)
    return Listing(str(scratch), tuple(rows)), None


def _ppm(x: Any) -> bytes:
    pixels = np.asarray(x)
    if pixels.ndim != 3 or not is_pixels(pixels.shape, pixels.dtype):
        raise BottleneckError(
            "BottleneckFeatures takes paths, or RGB pixels as uint8 of shape (height, width, 3), not "
            f"{pixels.dtype} of shape {pixels.shape}"
        )
    return as_ppm(pixels)


def _usable(ensured: CachedFeatures) -> Sequence[Row]:
    failed = ensured.listing.failed
    if failed:
        raise BottleneckError(
            f"{len(failed)} of {len(ensured.listing.rows)} images cannot be used, the first {failed[0].path!r}: "
            f"{failed[0].reason}; leave them out"
        )
    return ensured.listing.rows
