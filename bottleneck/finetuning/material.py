"""From a prepared run to what its graph is trained on."""

import dataclasses

from bottleneck.cache.features import locate
from bottleneck.cache.listing import Listing
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.recipe import Recipe
from bottleneck.extraction import conveyor
from bottleneck.extraction.engine import Wanted
from bottleneck.extraction.fill import fill, find_targets
from bottleneck.extraction.plan import missing_items
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.tally import Tally
from bottleneck.finetuning.feed import Activations, Feed, Material, Pictures
from bottleneck.finetuning.prepare import Prepared
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.fit import label_codes, part_places
from bottleneck.images.augment import parse_augmentation


def share_lacking(prepared: Prepared, cut: str, settings: Settings) -> float:
    """Tell what share of the activations at a cut the cache lacks, from 0 to 1."""
    rows, wanted = prepared.split.rows, _wanted_at(prepared, cut, settings)
    targets, _ = find_targets(prepared.cache, [_recipe_of(prepared, wanted)], settings.views)
    return missing_items(rows, targets).total / (len(rows) * (settings.views + 1))


def find_material(
    prepared: Prepared,
    cut: str | None,
    settings: Settings,
    decoding: conveyor.Settings,
    progress: Progress,
) -> Material:
    """Find what a graph is trained on, after caching what is lacking of it.

    Parameters
    ----------
    prepared : Prepared
    cut : str or None
        The tap whose activations are taken; None for pictures.
    settings : Settings
    decoding : bottleneck.extraction.conveyor.Settings
        How pictures are decoded.
    progress : Progress

    Raises
    ------
    BottleneckError
        The activations cannot be computed, or not kept.
    """
    rows, classes = prepared.split.rows, prepared.run.classes
    feed: Feed
    if cut is None:
        feed = Pictures(
            root=prepared.listing.root,
            rows=rows,
            size=prepared.recipe.image_size,
            fit=prepared.recipe.fit,
            augmentation=parse_augmentation(settings.augment),
            workers=decoding.workers,
            max_pixels=decoding.max_pixels,
        )
    else:
        wanted = _wanted_at(prepared, cut, settings)
        recipe = _recipe_of(prepared, wanted)
        if share_lacking(prepared, cut, settings):
            listing = Listing(prepared.listing.root, rows)
            with writer_lock(prepared.cache):
                fill(prepared.cache, listing, wanted, decoding, Tally(), progress, expected=recipe)
        views = range(settings.views + 1)
        found = locate(prepared.cache, [recipe], rows, classes, views)
        feed = Activations(found.by_view(len(views)))
    return Material(
        feed, cut, part_places(prepared.split), label_codes(rows, classes), len(classes)
    )


def _wanted_at(prepared: Prepared, cut: str, settings: Settings) -> Wanted:
    return dataclasses.replace(
        prepared.wanted,
        taps=(cut,),
        pool="none",
        # a map takes a hundred times a vector's room, and its last digits are lost in what follows
        dtype="float16",
        augmentation=parse_augmentation(settings.augment if settings.views else "none"),
        views=settings.views,
    )


def _recipe_of(prepared: Prepared, wanted: Wanted) -> Recipe:
    return wanted.recipes(prepared.recipe.weights_digest)[0]
