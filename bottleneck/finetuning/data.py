"""Load the training data of a prepared run, after caching what is missing."""

import dataclasses

from bottleneck.cache.features import locate
from bottleneck.cache.listing import Listing
from bottleneck.cache.recipe import Recipe
from bottleneck.extraction import conveyor
from bottleneck.extraction.ensure import RecordedFeatures, ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.missing import find_targets
from bottleneck.extraction.plan import missing_items
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.request import FeatureRequest
from bottleneck.finetuning.inputs import CachedInputs, ImageInputs, Inputs, TrainingData
from bottleneck.finetuning.prepare import PreparedRun
from bottleneck.heads.data import label_codes, split_slices
from bottleneck.images.augment import parse_augmentation


def missing_share(prepared: PreparedRun, cut: str) -> float:
    """Return the share of the activations at a cut that is not cached, from 0 to 1."""
    rows, views = prepared.split.rows, prepared.settings.views
    recipe = _recipe_of(prepared, _wanted_at(prepared, cut))
    targets, _ = find_targets(prepared.cache, [recipe], views)
    return missing_items(rows, targets).total / (len(rows) * (views + 1))


def load_training_data(
    prepared: PreparedRun, cut: str | None, decoding: conveyor.Settings, progress: Progress
) -> TrainingData:
    """Load what a graph is trained on; activations that are not cached are computed first.

    Parameters
    ----------
    prepared : PreparedRun
    cut : str or None
        The tap whose activations to train on; None to train on images.
    decoding : bottleneck.extraction.conveyor.Settings
        How images are decoded.
    progress : Progress

    Raises
    ------
    BottleneckError
        The activations cannot be computed or stored.
    """
    settings = prepared.settings
    rows, classes = prepared.split.rows, prepared.run.classes
    inputs: Inputs
    if cut is None:
        inputs = ImageInputs(
            root=prepared.listing.root,
            rows=rows,
            size=prepared.recipe.image_size,
            fit=prepared.recipe.fit,
            augmentation=parse_augmentation(settings.augment),
            workers=decoding.workers,
            max_pixels=decoding.max_pixels,
        )
    else:
        wanted = _wanted_at(prepared, cut)
        recipe = _recipe_of(prepared, wanted)
        ensure_features(
            prepared.cache,
            Listing(prepared.listing.root, rows),
            RecordedFeatures((recipe,), settings.views, lambda: wanted),
            Execution(decoding, progress),
        )
        views = range(settings.views + 1)
        found = locate(prepared.cache, [recipe], rows, classes, views)
        inputs = CachedInputs(found.by_view(len(views)))
    return TrainingData(
        inputs, cut, split_slices(prepared.split), label_codes(rows, classes), len(classes)
    )


def _wanted_at(prepared: PreparedRun, cut: str) -> FeatureRequest:
    settings = prepared.settings
    return dataclasses.replace(
        prepared.wanted,
        taps=(cut,),
        pool="none",
        # a map is about a hundred times as large as a vector, and training does not need its last digits
        dtype="float16",
        augmentation=parse_augmentation(settings.augment if settings.views else "none"),
        views=settings.views,
    )


def _recipe_of(prepared: PreparedRun, wanted: FeatureRequest) -> Recipe:
    return wanted.recipes(prepared.recipe.weights_digest)[0]
