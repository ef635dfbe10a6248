"""`bottleneck predict`: predict the classes of images with a run."""

import contextlib
import dataclasses
import functools
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import locate
from bottleneck.cache.listing import DamagedListingError, Listing, read_listing
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.rows import OK
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.engines.protocol import BATCH_SIZE, EngineName
from bottleneck.extraction.ensure import RecordedFeatures, ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.extraction.request import group_recipes, make_request, request_from_run
from bottleneck.extraction.scan import scan
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.heads.loaded import check_features
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.registry import find_head
from bottleneck.images.decode import MAX_PIXELS
from bottleneck.images.layout import LayoutOptions
from bottleneck.images.source import read_source
from bottleneck.runs.run import MODEL, TUNED, Run, read_run, run_folder
from bottleneck.runs.table import class_columns, write_rows, write_table

_log = logging.getLogger("bottleneck")


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run, in the order of the images.

    Attributes
    ----------
    paths : tuple of str
    classes : tuple of str
    probabilities : ndarray of float32, shape (n, classes)
        Rows sum to 1; NaN for images that cannot be used.
    reasons : tuple of str
        Why an image cannot be used; empty if it can.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    reasons: tuple[str, ...]

    @property
    def names(self) -> tuple[str | None, ...]:
        """The most probable class of each image; None if the image cannot be used."""
        best = np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1)
        return tuple(
            None if reason else self.classes[code]
            for code, reason in zip(best, self.reasons, strict=True)
        )

    @property
    def confidences(self) -> NDArray[np.float32]:
        """Probability of the most probable class; NaN if the image cannot be used."""
        highest: NDArray[np.float32] = self.probabilities.max(axis=1)
        return highest

    def to_list(self) -> list[dict[str, Any]]:
        """Return one dictionary for each image, for JSON."""
        return [
            {
                "path": path,
                "prediction": name,
                "confidence": None if name is None else round(float(confidence), 6),
                "reason": reason,
            }
            for path, name, confidence, reason in zip(
                self.paths, self.names, self.confidences, self.reasons, strict=True
            )
        ]

    def write_csv(self, file: str | os.PathLike[str] | TextIO) -> None:
        """Write ``path,prediction,confidence``, a column for each class, and ``reason``.

        Parameters
        ----------
        file : path or text file

        Raises
        ------
        BottleneckError
            The file cannot be written.
        """
        header = ["path", "prediction", "confidence", *class_columns(self.classes), "reason"]
        try:
            if isinstance(file, (str, os.PathLike)):
                write_table(Path(file), header, self._lines())
            else:
                write_rows(file, header, self._lines())
        except BrokenPipeError:
            raise  # the reader closed the pipe, for example head: not an error
        except OSError as error:
            raise BottleneckError(
                f"cannot write {file}: {error.strerror}; give another file with --out"
            ) from error

    def _lines(self) -> Iterator[list[str]]:
        for path, name, p, reason in zip(
            self.paths, self.names, self.probabilities, self.reasons, strict=True
        ):
            if name is None:
                yield [path, "", "", *("" for _ in p), reason]
            else:
                yield [path, name, f"{p.max():.6f}", *(f"{value:.6f}" for value in p), ""]


def predict(
    run: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    plain: bool = False,
    root: str | os.PathLike[str] | None = None,
    path_column: str = "path",
    skip_missing: bool = False,
    max_pixels: int = MAX_PIXELS,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: EngineName = "auto",
    progress: Progress = no_progress,
) -> Predictions:
    """Predict the classes of images with a run: its head on its base's features, or its fine-tuned network.

    Parameters
    ----------
    run : path
        The run's folder or URL.
    images : path
        A folder or URL, a CSV file or one image; labels are ignored.
    cache : path, optional
        A cache to read features from and to add missing ones to. Its listing does not change.
    weights : str or path, optional
        Where the base's weights are now, if they have moved since the run was fitted. Other weights are an
        error.
    plain : bool
        Use only the plain view of each image, even if the run averages over several views.
    root, path_column, skip_missing
        For a CSV file, see `bottleneck.images.source.read_source`.
    max_pixels : int
        Larger images are refused as decompression bombs.
    batch_size : int, optional
        Images per batch, as for `bottleneck.extract`; at most the number of images.
    workers : int, optional
        Number of decoding threads; by default the number of cores.
    engine : {"auto", "keras", "openvino"}
        Engine that runs the base, see `bottleneck.extract`.
    progress : callable
        Called with the step's name, the number done and the total.

    Returns
    -------
    Predictions

    Raises
    ------
    BottleneckError
        The run or the images cannot be read, or the weights are not those of the run.

    Examples
    --------
    >>> predictions = predict(example_run, example_images, cache=example_cache)
    >>> predictions.classes, predictions.probabilities.shape
    (('flower', 'temple'), (6, 2))
    """
    folder = run_folder(run)
    known = read_run(folder)
    if plain:
        known = dataclasses.replace(known, predict_views=1)
    found = read_source(
        images,
        root=root,
        path_column=path_column,
        skip_missing=skip_missing,
        layout=LayoutOptions(labelled=False),
    )
    threads = Settings().workers if workers is None else workers
    settings = Settings(batch_size, threads, max_pixels, engine=engine)
    with _open_cache_folder(cache) as cache_folder:
        listing = scan(
            found,
            _read_listing_if_intact(cache_folder),
            workers=threads,
            retry_failed=True,
            progress=progress,
        )
        if cache is None:
            # Nothing is kept, so batches need no padding. In a cache they do, because the last bits of
            # features depend on the batch size.
            count = max(len(listing.ok), 1)
            if count < (batch_size or BATCH_SIZE):
                settings = dataclasses.replace(settings, batch_size=count)
        execution = Execution(settings, progress)
        if known.best == TUNED:
            listing, predicted = _by_network(folder, known, cache_folder, listing, execution)
        else:
            listing, predicted = _by_head(folder, known, cache_folder, listing, weights, execution)
    if known.random:
        _log.warning("The base's weights are RANDOM: use these predictions only to try things out.")
    usable = np.array([row.status == OK for row in listing.rows])
    probabilities = np.full((len(usable), len(known.classes)), np.nan, np.float32)
    probabilities[usable] = predicted
    return Predictions(
        paths=tuple(row.path for row in listing.rows),
        classes=known.classes,
        probabilities=probabilities,
        reasons=tuple(row.reason for row in listing.rows),
    )


def _by_head(
    run: Path,
    known: Run,
    cache_folder: Path,
    listing: Listing,
    weights: str | os.PathLike[str] | None,
    execution: Execution,
) -> tuple[Listing, NDArray[np.float32]]:
    """Predict by the run's head; mark images that cannot be decoded as failed in the listing."""
    head = find_head(known.head).load(run, len(known.classes))
    for recipes, weights_path in group_recipes(known.recipes, known.weights_paths):
        views = known.predict_views - 1
        request = functools.partial(request_from_run, recipes, weights_path, weights, views)
        listing = ensure_features(
            cache_folder,
            listing,
            RecordedFeatures(tuple(recipes), views, request),
            execution,
            # only `extract` and `cache repair` know the images that a damaged file was computed from
            damaged="refuse",
        ).listing
    features = locate(
        cache_folder, known.recipes, listing.ok, known.classes, range(known.predict_views)
    ).by_view(known.predict_views)
    check_features(head, run, features[0].shape)
    return listing, mean_probabilities(head, features, len(known.classes))


def _by_network(
    run: Path, known: Run, cache_folder: Path, listing: Listing, execution: Execution
) -> tuple[Listing, NDArray[np.float32]]:
    """Predict by the run's fine-tuned network, whose probabilities are cached as features."""
    recipe = known.recipes[0]
    request = make_request(
        FeatureSpec(
            run / MODEL,
            # included in the network
            preprocessing="none",
            pool="none",
            image_size=recipe.image_size,
            resize=recipe.fit,
            dtype="float32",
        )
    )
    ensured = ensure_features(cache_folder, listing, request, execution)
    found = locate(cache_folder, ensured.recipes, ensured.listing.ok, known.classes)
    return ensured.listing, found.gather(slice(None)).X.reshape(-1, len(known.classes))


@contextlib.contextmanager
def _open_cache_folder(cache: str | os.PathLike[str] | None) -> Iterator[Path]:
    if cache is not None:
        yield local_folder(cache)
        return
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        yield Path(folder)


def _read_listing_if_intact(cache: Path) -> Listing | None:
    try:
        return read_listing(cache)
    except DamagedListingError:
        return None  # without the listing all images are hashed again
