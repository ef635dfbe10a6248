"""Feature sets to compare: a cache and one or more of its recipes, on common images."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.cache.listing import Listing
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.recipe import Recipe, RecipeFile
from bottleneck.cache.rows import Row
from bottleneck.cache.store import FeatureCache, find_views
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.checks import check_finite
from bottleneck.heads.data import LabelledFeatures, load_labelled
from bottleneck.heads.split import Split


@dataclass(frozen=True)
class FeatureSet:
    """Features that heads are fitted on.

    Attributes
    ----------
    name : str
        Distinguishes it from the others; empty if there is only one.
    cache : str
        Folder or URL of the cache.
    recipes : tuple of Recipe
        The features of several are concatenated.
    views : int
        Number of views of each image, including the plain view.
    data : LabelledFeatures or None
        The features of all images of the split; None if they cannot be used.
    reason : str
        Why they cannot be used.
    """

    name: str
    cache: str
    recipes: tuple[Recipe, ...]
    views: int
    data: LabelledFeatures | None
    reason: str

    def without_data(self, cache: str) -> "FeatureSet":
        """Copy it without opened shards, to send to a worker that finds the cache at `cache`."""
        return dataclasses.replace(self, cache=cache, data=None)

    def with_data(self, split: Split) -> "FeatureSet":
        """Open the shards, unless the features cannot be used.

        The shards of a cache at a URL are read from the local mirror of this machine.
        """
        if self.reason:
            return self
        data = load_labelled(local_folder(self.cache), self.recipes, split, self.views)
        return dataclasses.replace(self, data=data)


@dataclass(frozen=True)
class CommonImages:
    """Labelled images that all caches of a comparison have.

    Attributes
    ----------
    rows : list of Row
        With the labels and splits of the first cache.
    left_out : dict of str to int
        For each cache, the number of its labelled images that not all caches have.
    warnings : list of str
        One line for each cache whose labels or splits differ from those of the first.
    """

    rows: list[Row]
    left_out: dict[str, int]
    warnings: list[str]


def find_common_images(stores: Sequence[FeatureCache], listings: Sequence[Listing]) -> CommonImages:
    """Find the labelled images that all caches have, matched by digest.

    Raises
    ------
    BottleneckError
        If the caches have no labelled image in common.
    """
    labelled = [[row for row in listing.ok if row.label is not None] for listing in listings]
    common = set.intersection(*({row.digest for row in rows} for rows in labelled))
    left_out = {
        store.name: sum(row.digest not in common for row in rows)
        for store, rows in zip(stores, labelled, strict=True)
    }
    if not common:
        raise BottleneckError(
            f"the caches have no labelled image in common: {', '.join(map(str, left_out))}; "
            "compare caches of the same images"
        )
    kept = [row for row in labelled[0] if row.digest in common]
    known = {row.digest: (row.label, row.split) for row in kept}
    warnings = []
    for store, rows in zip(stores[1:], labelled[1:], strict=True):
        other = sum(known.get(row.digest, row[2:4]) != (row.label, row.split) for row in rows)
        if other:
            warnings.append(
                f"{other} images have another label or split in {store.name}: "
                f"those of {stores[0].name} are used."
            )
    return CommonImages(kept, left_out, warnings)


def open_feature_sets(
    stores: Sequence[FeatureCache], recipes: Sequence[str], split: Split
) -> Iterator[FeatureSet]:
    """Open the features of the given recipes, or of every recipe, in each cache.

    Parameters
    ----------
    stores : sequence of FeatureCache
    recipes : sequence of str
        Ids or parts of ids. ``A+B`` concatenates the features of A and B.
    split : Split

    Raises
    ------
    BottleneckError
        If none of the caches has one of the recipes, or there are no features at all.
    """
    wanted = []
    for store in stores:
        names = recipes or [entry.recipe.id for entry in store.unnamed]
        for name in names:
            try:
                wanted.append((store, store.find_recipes(recipes=name.split("+"))))
            except BottleneckError:
                # another cache may have it
                if len(stores) == 1 or not any(_has_recipe(other, name) for other in stores):
                    raise
    if not wanted:
        raise BottleneckError(
            f"{stores[0].name} has no features yet; run: bottleneck extract IMAGES --cache {stores[0].name}"
        )
    names = _short_names(
        [(store.path, [e.recipe.id for e in entries]) for store, entries in wanted]
    )
    for (store, entries), name in zip(wanted, names, strict=True):
        yield _open_feature_set(store, entries, name, split)


def _has_recipe(store: FeatureCache, name: str) -> bool:
    try:
        return bool(store.find_recipes(recipes=name.split("+")))
    except BottleneckError:
        return False


def _short_names(feature_sets: Sequence[tuple[Path, list[str]]]) -> list[str]:
    """Give each feature set the shortest name that is unique."""
    if len(feature_sets) == 1:
        return [""]
    bare = ["+".join(name.rpartition("-")[0] for name in ids) for _, ids in feature_sets]
    in_cache = [f"{path.name}/{name}" for (path, _), name in zip(feature_sets, bare, strict=True)]
    for names in (bare, in_cache):
        if len(set(names)) == len(names):
            return names
    return [f"{path}/{'+'.join(ids)}" for path, ids in feature_sets]


def _open_feature_set(
    store: FeatureCache, entries: Sequence[RecipeFile], name: str, split: Split
) -> FeatureSet:
    recipes = tuple(entry.recipe for entry in entries)
    views = len(find_views(entries, "all"))
    try:
        data = load_labelled(store.path, recipes, split, views)
        for view in data.views:
            check_finite(view)
    except BottleneckError as error:
        return FeatureSet(name, store.name, recipes, views, None, str(error))
    return FeatureSet(name, store.name, recipes, views, data, "")
