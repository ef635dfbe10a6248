"""Which features are wanted, and the network that makes them."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from bottleneck.bases.backbone import find_backbone_again, is_backbone
from bottleneck.bases.base import Base, find_size, find_tap
from bottleneck.bases.network import POOLS, Network, Pool, build_network
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import WeightsSource, find_weights
from bottleneck.cache.recipe import Recipe, RecipeFile
from bottleneck.errors import BottleneckError
from bottleneck.images.decode import DECODER, FITS, Fit


@dataclass(frozen=True)
class Wanted:
    """Everything a recipe says but the digest of the weights, which takes loading them.

    Attributes
    ----------
    base : Base
    weights : WeightsSource
    tap, pool, image_size, fit
        As in `bottleneck.cache.recipe.Recipe`.
    """

    base: Base
    weights: WeightsSource
    tap: str
    pool: Pool
    image_size: int
    fit: Fit

    def recipe(self, weights_digest: str) -> Recipe:
        """Complete the recipe."""
        return Recipe(
            base=self.base.name,
            tap=self.tap,
            pool=self.pool,
            weights=Path(self.weights.name).name,
            weights_digest=weights_digest,
            image_size=self.image_size,
            fit=self.fit,
            decoder=DECODER,
        )

    def recognise(self, known: tuple[RecipeFile, ...]) -> RecipeFile | None:
        """Find the recipe among those known, where that can be told without loading weights."""
        for entry in known:
            same = entry.recipe == self.recipe(entry.recipe.weights_digest)
            if same and self.weights.fingerprint in entry.fingerprints:
                return entry
        return None

    def build(self) -> Network:
        """Build the network; this imports Keras. The one built last is kept."""
        return _build(self.base, self.weights, self.tap, self.pool, self.image_size)


# One, and not more, for it takes a hundred megabytes. It is what makes a second call in the same
# process, to predict another picture say, start at once.
@functools.lru_cache(maxsize=1)
def _build(base: Base, weights: WeightsSource, tap: str, pool: Pool, image_size: int) -> Network:
    # a file of weights is known by its contents, so another file of the same name is built anew
    return build_network(base, weights, tap, pool, image_size)


def choose(
    base: str | os.PathLike[str] | Base,
    weights: str | os.PathLike[str] | None = None,
    *,
    preprocessing: str | None = None,
    tap: str | None = None,
    drop_blocks: int = 0,
    pool: Pool = "avg",
    image_size: int | None = None,
    fit: Fit = "squash",
    seed: int = 0,
) -> Wanted:
    """Check what was asked for against what there is, without loading anything.

    Raises
    ------
    BottleneckError
        There is no such base, block, pool, fit or weights file, or the base does not take the size.
    """
    found = base if isinstance(base, Base) else find_base(os.fspath(base), preprocessing)
    if found.file is not None and weights is not None:
        raise BottleneckError(
            f"{found.file} brings its own weights; leave --weights out, or give the name of a base with --base"
        )
    for option, value, known in (("--pool", pool, POOLS), ("--fit", fit, FITS)):
        if value not in known:
            raise BottleneckError(f"unknown value {value!r} for {option}: {', '.join(known)}")
    return Wanted(
        base=found,
        tap=find_tap(found, tap, drop_blocks),
        image_size=find_size(found, image_size),
        weights=find_weights(found.file or ("imagenet" if weights is None else weights), seed),
        pool=pool,
        fit=fit,
    )


def choose_again(recipe: Recipe, weights: str | os.PathLike[str]) -> Wanted:
    """Ask for the features of a recipe there is, with weights from `weights`.

    Raises
    ------
    BottleneckError
        This version cannot make them any more, or there is no such weights file.
    """
    own = is_backbone(recipe.base)
    wanted = choose(
        find_backbone_again(recipe.base, Path(weights)) if own else recipe.base,
        None if own else weights,
        tap=recipe.tap,
        pool=recipe.pool,
        image_size=recipe.image_size,
        fit=recipe.fit,
    )
    if wanted.recipe(recipe.weights_digest) != recipe:
        raise BottleneckError(
            f"features of {recipe.id} were made by another version of bottleneck, which decoded pictures otherwise "
            f"({recipe.decoder}, this one: {DECODER}); extract and fit again with this one"
        )
    return wanted


def refuse_other_weights(found: str, recipe: Recipe, source: WeightsSource) -> None:
    """Refuse weights whose digest is not the recipe's.

    Raises
    ------
    BottleneckError
        The digests differ.
    """
    if found != recipe.weights_digest:
        raise BottleneckError(
            f"the weights {source.name} are not those of {recipe.id}: expected tensors with digest "
            f"{recipe.weights_digest[:12]}…, found {found[:12]}…; name the right ones ({recipe.weights}) with --weights"
        )
