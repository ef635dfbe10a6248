"""`bottleneck extract`: from an image set to a cache."""

import contextlib
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bottleneck.bases.network import Pool
from bottleneck.cache.listing import (
    DamagedListingError,
    Listing,
    read_listing,
    write_listing,
)
from bottleneck.cache.location import name_of
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.recipe import PLAIN, Dtype, Precision
from bottleneck.errors import BottleneckError
from bottleneck.extraction.cluster import check_access, connect
from bottleneck.extraction.conveyor import SEAL_SECONDS, Settings
from bottleneck.extraction.engines.protocol import BATCH_SIZE, EngineName
from bottleneck.extraction.ensure import ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.missing import CachedFeatures
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.extraction.report import ExtractReport, Stages
from bottleneck.extraction.request import make_request
from bottleneck.extraction.scan import hash_unread, recall, refuse_nothing_read
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.images.decode import MAX_PIXELS, Fit
from bottleneck.images.layout import DEFAULT, LayoutOptions
from bottleneck.images.source import ImageSet, read_source
from bottleneck.remote import REQUESTS, is_url

_log = logging.getLogger("bottleneck")

# Failed images named one by one in the messages; all of them are in the listing.
_SHOWN_FAILURES = 10


def extract(
    images: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] = "inception_v3",
    preprocessing: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    tap: str | Sequence[str] | None = None,
    drop_blocks: int = 0,
    pool: Pool = "avg",
    image_size: int | None = None,
    resize: Fit = "squash",
    fit: Fit | None = None,
    precision: Precision = "float32",
    dtype: Dtype | None = None,
    views: int = 0,
    augment: str = PLAIN,
    seed: int = 0,
    layout: LayoutOptions = DEFAULT,
    root: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    label_column: str | None = None,
    split_column: str | None = None,
    skip_missing: bool = False,
    retry_failed: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: EngineName = "auto",
    seal_seconds: float = SEAL_SECONDS,
    cluster: str | None = None,
    progress: Progress = no_progress,
) -> ExtractReport:
    """Run a frozen base over an image set and keep its features, computing only what is missing.

    Parameters
    ----------
    images : path
        A folder of class folders; a folder with ``train``, ``val`` and ``test`` above class
        folders; a flat folder; a CSV; one image; or files that hold many, see
        `bottleneck.images.source.read_source`.
        Or the URL of any of these.
    cache : path
        The cache's folder or URL; made if need be.
    base : str or path
        Name of the base, or a ``.keras`` file that holds a network of your own.
    preprocessing : {"tf", "caffe", "torch", "none"}, optional
        For such a file: what its network expects of pixels.
    weights : str or path, optional
        ``imagenet``, ``random``, or a ``.weights.h5``, ``.h5`` or ``.keras`` file; by default
        ``imagenet``. A network of your own has its weights.
    tap : str or sequence of str, optional
        The layer to keep: the end of a block, or any other by its name in Keras; by default the last
        before the classifier. For several the base is run once, and each has a recipe of its own.
    drop_blocks : int
        In place of a tap: leave out so many blocks at the top.
    pool : {"avg", "max", "none"}
        How the tap's map becomes a vector; ``none`` keeps the map.
    image_size : int, optional
        Side of the square shown to the base, in pixels; by default what it was trained on.
    resize : {"squash", "crop"}
        Scale both sides, or keep proportions and crop the centre.
    fit : {"squash", "crop"}, optional
        Former name of `resize`.
    precision : {"float32", "bfloat16", "float16", "int8"}
        What the base computes in. For int8 its graph is quantised the first time, which takes some of the
        images, and kept in the cache.
    dtype : {"float32", "float16"}, optional
        What features are stored in; by default float32 for vectors and float16 for maps.
    views : int
        Augmented views of each image to keep besides the plain one.
    augment : str
        How they are made, see `bottleneck.images.augment.parse_augmentation`.
    seed : int
        For random weights.
    layout : LayoutOptions
        For folders and archives, see `bottleneck.images.layout.LayoutOptions`.
    root, path_column, label_column, split_column, skip_missing
        For a CSV, see `bottleneck.images.source.read_source`.
    retry_failed : bool
        Try images again that failed before and have not changed.
    max_pixels : int
        Images with more pixels are refused as decompression bombs.
    batch_size : int, optional
        Images the base is given at once; by default 16 on a CPU and in a cluster, on a GPU as many as its memory
        takes up to 256.
    workers : int, optional
        Images decoded at the same time; by default as many as there are cores.
    engine : {"auto", "keras", "openvino"}
        What runs the base: the fastest there is, or this one. In float32 they agree within a thousandth, so a
        recipe does not say which it was.
    seal_seconds : float
        Computed features are sealed at least this often: what a crash can cost.
    cluster : str, optional
        Where the base runs, if not in this process: on the workers of a Dask scheduler,
        ``dask://HOST:PORT``, that see images and cache under the same paths or URLs; or in N processes of this
        machine, ``local:N``, for which a script needs ``if __name__ == "__main__":``.
    progress : callable
        Called with the step's name, how many are done, and how many there are.

    Returns
    -------
    ExtractReport

    Raises
    ------
    BottleneckError
        An option, the images or the cache cannot be used, or the computation fails. Sealed features are kept.

    Examples
    --------
    >>> report = extract(example_images, example_cache, weights="random", image_size=75)
    >>> report.images, report.computed, report.reused, report.failed
    (6, 0, 6, 0)
    """
    started = time.perf_counter()
    place = local_folder(cache)
    settings = Settings(
        # workers that differ in it would differ in the last bits of features
        batch_size=BATCH_SIZE if batch_size is None and cluster is not None else batch_size,
        workers=Settings().workers if workers is None else workers,
        max_pixels=max_pixels,
        seal_seconds=seal_seconds,
        engine=engine,
    )
    request = make_request(
        FeatureSpec(
            base,
            weights,
            preprocessing=preprocessing,
            tap=tap,
            drop_blocks=drop_blocks,
            pool=pool,
            image_size=image_size,
            resize=resize if fit is None else fit,
            precision=precision,
            dtype=dtype,
            augment=augment,
            views=views,
            seed=seed,
        )
    )
    with _paused_collection():
        found = read_source(
            images,
            layout=layout,
            root=root,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            skip_missing=skip_missing,
        )
    if found.ignored:
        _log.info("Skipped non-image files: %s", ", ".join(found.ignored))
    for note in found.notes:
        _log.info("%s", note)
    statistics = ExtractionStatistics()
    with connect(cluster) as workers_of, writer_lock(place):
        execution = Execution(settings, progress, workers_of, statistics)
        known = _known(place)
        _warn_about_another_set(place, known, found)
        readers = max(REQUESTS, settings.workers) if is_url(images) else settings.workers
        with _paused_collection():
            listing = recall(
                found, known, workers=readers, retry_failed=retry_failed, progress=progress
            )
        if workers_of is not None:
            # a task for a worker names what it computes; without one images are hashed on their way to the base
            listing = hash_unread(listing, workers=readers, progress=progress)
            check_access(
                workers_of, place, listing.root, ((row.path, row.digest) for row in listing.ok)
            )
        del found  # the listing says all of it again
        try:
            ensured = ensure_features(place, listing, request, execution, locked=True)
        except BottleneckError:
            raise  # it says itself what is kept
        except (
            BaseException
        ):  # Ctrl-C, in whatever shape it comes back from C code, and our own faults
            _log.warning(
                "%d features were computed and sealed. To go on with the rest, run the same command again.",
                statistics.computed,
            )
            raise
        refuse_nothing_read(ensured.listing)
        # The listing comes last: where there is one, an extraction has come to its end
        if ensured.listing != known:
            write_listing(place, ensured.listing)
    _warn_about_failures(ensured.listing)
    return _report(place, ensured, views, statistics, time.perf_counter() - started)


@contextlib.contextmanager
def _paused_collection() -> Iterator[None]:
    """Pause Python's garbage collector while a set is listed.

    There is no cycle in it, and of a million images the collector would go through all found so far again
    and again: a third of the time it takes to find them.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _known(cache: Path) -> Listing | None:
    try:
        return read_listing(cache)
    except DamagedListingError as error:
        _log.warning("%s", error)
        return None


def _warn_about_another_set(cache: Path, known: Listing | None, found: ImageSet) -> None:
    if known is not None and known.root != found.root:
        _log.warning(
            "%s listed the images of %s; now it lists those of %s. Features of the others are kept.",
            name_of(cache),
            known.root,
            found.root,
        )


def _warn_about_failures(listing: Listing) -> None:
    failed = listing.failed
    for row in failed[:_SHOWN_FAILURES]:
        _log.warning("Skipped %r: %s", row.path, row.reason)
    if len(failed) > _SHOWN_FAILURES:
        reasons = Counter(row.reason.split(":")[0].split(" (")[0] for row in failed)
        counted = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
        _log.warning("… and %d more (%s)", len(failed) - _SHOWN_FAILURES, counted)


def _report(
    cache: Path,
    ensured: CachedFeatures,
    views: int,
    statistics: ExtractionStatistics,
    seconds: float,
) -> ExtractReport:
    listing = ensured.listing
    return ExtractReport(
        cache=name_of(cache),
        recipes=tuple(recipe.id for recipe in ensured.recipes),
        images=len(listing.rows),
        views=views,
        computed=statistics.computed,
        reused=len(listing.ok) * (views + 1) - statistics.computed,
        failed=len(listing.failed),
        seconds=seconds,
        images_per_second=statistics.computed / seconds,
        stages=Stages(statistics.read, statistics.decode, statistics.base, statistics.write),
        held_back_by=statistics.bottleneck,
        engine=statistics.engine,
        workers=statistics.workers,
    )
