"""A cache opened for reading."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from bottleneck.cache.features import Features, Located, locate
from bottleneck.cache.listing import FILE_NAME as LISTING
from bottleneck.cache.listing import Listing, read_listing
from bottleneck.cache.location import location_of, name_of
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.recipe import PLAIN, Dtype, Recipe, RecipeFile, read_recipe, recipe_folders
from bottleneck.errors import BottleneckError


class FeatureCache:
    """The features of one image set, under any number of recipes. Reading never blocks or locks.

    Parameters
    ----------
    path : path
        The cache's folder, or a URL. `path` is the folder it is read from then, a mirror.

    Raises
    ------
    BottleneckError
        There is no cache at `path`.

    Examples
    --------
    >>> cache = FeatureCache(example_cache)  # of six images, four of them to train on
    >>> [recipe.image_size for recipe in cache.recipes]
    [75]
    >>> train = cache.load(split="train")
    >>> train.X.shape, train.X.dtype.name, train.classes
    ((4, 2048), 'float32', ('flower', 'temple'))
    >>> [len(batch.y) for batch in cache.iter_batches(batch_size=4)]
    [4, 2]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = local_folder(path)
        if not (self.path / LISTING).exists() and not (self.path / "features").is_dir():
            raise BottleneckError(
                f"no cache at {self.name}; make one with: bottleneck extract IMAGES --cache {self.name}"
            )

    def __repr__(self) -> str:
        return f"FeatureCache({self.name!r})"

    @property
    def name(self) -> str:
        """Where the cache is, as it was given: a path or a URL."""
        return name_of(self.path)

    @property
    def location(self) -> str:
        """Where the cache is, from wherever it is asked: an absolute path or a URL."""
        return location_of(self.path)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes there are features for, sorted by id."""
        return tuple(entry.recipe for entry in self.recipe_files)

    @property
    def recipe_files(self) -> tuple[RecipeFile, ...]:
        """The recipes with what is known of where their weights are to be had."""
        return tuple(read_recipe(folder) for folder in self.folders)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The recipes' folders, sorted by name."""
        return tuple(recipe_folders(self.path))

    @property
    def listing(self) -> Listing:
        """The images of the set, each ok or failed with a reason.

        Raises
        ------
        BottleneckError
            No extraction has ended yet, or the file is damaged or of a newer format.
        """
        listing = read_listing(self.path)
        if listing is None:
            raise BottleneckError(
                f"{self.name} has no listing: its first extraction was interrupted; run the same "
                "`bottleneck extract` again to go on with it"
            )
        return listing

    @property
    def unnamed(self) -> tuple[RecipeFile, ...]:
        """The recipes meant where none is named: those of vectors, and maps only where there is nothing else.

        Maps are kept for what is trained on them, such as fine-tuning above a cut, beside the features of
        the same images.
        """
        there = self.recipe_files
        return tuple(entry for entry in there if entry.recipe.pool != "none") or there

    def find_recipe(self, recipe: Recipe | str | None = None) -> RecipeFile:
        """Find a recipe by its id, by the beginning of it, or by parts between its hyphens.

        Without any, the only one there is, see `unnamed`. Where a recipe fits and the same one with augmented
        views, it is the latter, whose view 0 is the former's.

        Raises
        ------
        BottleneckError
            None or several fit; the message lists those there are.
        """
        asked = recipe.id if isinstance(recipe, Recipe) else recipe or ""
        there = self.recipe_files
        found = [
            entry
            for entry in (there if asked else self.unnamed)
            if entry.recipe.id.startswith(asked) or f"-{asked}-" in f"-{entry.recipe.id}-"
        ]
        # views besides the plain one are kept under a recipe of their own, which stands for both
        plain = {entry.recipe.of_view(0) for entry in found if entry.recipe.augmentation != PLAIN}
        found = [entry for entry in found if entry.recipe not in plain]
        if len(found) != 1:
            listed = ", ".join(entry.recipe.id for entry in there) or "none"
            wrong = "several recipes fit" if found else f"no recipe {asked!r}"
            raise BottleneckError(
                f"{wrong} in {self.name}; it has: {listed}. Name one of them with --recipe"
            )
        return found[0]

    def find_recipes(
        self, recipe: Recipe | str | None = None, recipes: Sequence[Recipe | str] = ()
    ) -> tuple[RecipeFile, ...]:
        """Find one recipe, or several.

        Raises
        ------
        BottleneckError
            Both are given, one is not to be found, or one is named twice.
        """
        if recipe is not None and recipes:
            raise BottleneckError("give one recipe, or several recipes, not both")
        found = tuple(map(self.find_recipe, recipes)) or (self.find_recipe(recipe),)
        for number, entry in enumerate(found):
            if entry in found[:number]:
                raise BottleneckError(f"recipe {entry.recipe.id} is named twice with --recipe")
        return found

    def load(
        self,
        recipe: Recipe | str | None = None,
        split: str | None = None,
        view: int | Literal["all"] = 0,
        *,
        recipes: Sequence[Recipe | str] = (),
        dtype: Dtype = "float32",
    ) -> Features:
        """Read features into memory, checking every byte they come from.

        Parameters
        ----------
        recipe : Recipe or str, optional
            A recipe, its id, or a part of it: its beginning, or what stands between hyphens, such as
            the tap. May be left out where there is one only, maps aside.
        split : {"train", "val", "test"}, optional
            Only the images assigned to it by their source. By default all of them.
        view : int or "all"
            0 is the plain picture. All views of an image follow each other.
        recipes : sequence of Recipe or str, optional
            In place of one: several, whose features are put side by side.
        dtype : {"float32", "float16"}
            Of `X`. To bring half-precision features to float32 takes several times as long as to read them.

        Returns
        -------
        Features
            Of the images that are ok, in the listing's order. `X` is n × d.

        Raises
        ------
        BottleneckError
            A shard is damaged, features are missing, or there is no such recipe, split or view.
            Wrong numbers are never returned.
        """
        return self._locate(recipe, recipes, split, view).gather(slice(None), dtype)

    def iter_batches(
        self,
        recipe: Recipe | str | None = None,
        split: str | None = None,
        view: int | Literal["all"] = 0,
        batch_size: int = 1024,
        *,
        recipes: Sequence[Recipe | str] = (),
    ) -> Iterator[Features]:
        """Read features a batch at a time, for sets larger than memory.

        Parameters
        ----------
        recipe, split, view, recipes
            As for `load`.
        batch_size : int
            Rows in each batch; the last may be shorter.

        Yields
        ------
        Features
            Together the same rows as `load` gives, in the same order.

        Raises
        ------
        BottleneckError
            As for `load`, before the first batch.
        """
        found = self._locate(recipe, recipes, split, view)
        for start in range(0, len(found.rows), batch_size):
            yield found.gather(slice(start, start + batch_size))

    def _locate(
        self,
        recipe: Recipe | str | None,
        recipes: Sequence[Recipe | str],
        split: str | None,
        view: int | Literal["all"],
    ) -> Located:
        listing = self.listing
        rows = listing.ok if split is None else listing.ok.where("split", split)
        if split is not None and not rows:
            there = ", ".join(listing.ok.tally("split")) or "none"
            raise BottleneckError(
                f"{self.name} has no images in split {split!r}; its splits: {there}"
            )
        entries = self.find_recipes(recipe, recipes)
        views = find_views(entries, view)
        return locate(
            self.path,
            [entry.recipe for entry in entries],
            rows,
            listing.classes,
            views,
        )


def find_views(entries: Sequence[RecipeFile], view: int | Literal["all"]) -> range:
    """Tell which views are meant: one, or all that all of some recipes have.

    Raises
    ------
    BottleneckError
        They do not all have the view.
    """
    last = min(entry.views for entry in entries)
    if view == "all":
        return range(last + 1)
    if not 0 <= view <= last:
        few = next(entry.recipe.id for entry in entries if entry.views == last)
        raise BottleneckError(
            f"no view {view} under {few}, whose last is view {last}; "
            "more are made by: bottleneck extract --views K --augment HOW"
        )
    return range(view, view + 1)
