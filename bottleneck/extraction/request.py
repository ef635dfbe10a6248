"""Feature requests: a specification whose base, taps and weights were found, ready to be computed."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.bases.backbone import find_backbone_again, is_backbone
from bottleneck.bases.base import Base, find_size, find_tap
from bottleneck.bases.network import Network, Pool, build_network
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import WeightsSource, find_weights
from bottleneck.cache.quantised import SUFFIX, Quantised, read_quantised
from bottleneck.cache.recipe import PLAIN, Dtype, Precision, Recipe, RecipeFile
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.protocol import BuiltBase
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.images.augment import Augmentation
from bottleneck.images.decode import DECODER, Fit


@dataclass(frozen=True)
class FeatureRequest:
    """Everything that recipes record, except the digest of the weights, which requires loading them.

    Attributes
    ----------
    base : Base
    weights : WeightsSource
    taps : tuple of str
        One or more, in the order of the features.
    pool, image_size, precision, dtype
        As in `bottleneck.cache.recipe.Recipe`.
    resize : {"squash", "crop"}
        What a recipe calls `fit`.
    augmentation : Augmentation
    views : int
        Views of each image besides the plain one.
    """

    base: Base
    weights: WeightsSource
    taps: tuple[str, ...]
    pool: Pool
    image_size: int
    resize: Fit
    precision: Precision
    dtype: Dtype
    augmentation: Augmentation
    views: int

    @property
    def quantised(self) -> bool:
        """Whether the weights are a quantised graph."""
        return self.weights.name.endswith(SUFFIX)

    def recipes(self, weights_digest: str) -> tuple[Recipe, ...]:
        """Return the recipes, one for each tap."""
        return tuple(
            Recipe(
                base=self.base.name,
                tap=tap,
                pool=self.pool,
                weights=Path(self.weights.name).name,
                weights_digest=weights_digest,
                image_size=self.image_size,
                fit=self.resize,
                decoder=DECODER,
                precision=self.precision,
                dtype=self.dtype,
                augmentation=str(self.augmentation),
            )
            for tap in self.taps
        )

    def find_digest(self, known: tuple[RecipeFile, ...]) -> str | None:
        """Return the digest of the weights if known recipes record it, without loading the weights."""
        if self.precision == "int8":
            return self.weights.fingerprint.removeprefix("sha256:") if self.quantised else None
        for entry in known:
            if (
                entry.recipe.base == self.base.name
                and self.weights.fingerprint in entry.fingerprints
            ):
                return entry.recipe.weights_digest
        return None

    def build(self, taps: tuple[str, ...] | None = None) -> BuiltBase:
        """Build the base up to the taps, or to some of them. The last one built is kept.

        A quantised graph is read, without Keras; any other base is built, which imports Keras.
        """
        return self.read_graph(taps) if self.precision == "int8" else self.build_network(taps)

    def build_network(self, taps: tuple[str, ...] | None = None) -> Network:
        """Build the base with Keras. The last one built is kept."""
        if self.precision == "int8":
            raise BottleneckError("Keras cannot build a base in int8; leave --precision out")
        return _build_network(
            self.base,
            self.weights,
            taps or self.taps,
            self.pool,
            self.image_size,
            self.precision,
        )

    def read_graph(self, taps: tuple[str, ...] | None = None) -> Quantised:
        """Read the quantised graph that the weights are. The last one read is kept.

        Raises
        ------
        BottleneckError
            The graph is damaged, or was made for another base, tap, pool or size.
        """
        return _read_graph(self.base, self.weights, taps or self.taps, self.pool, self.image_size)


# The last network and the last graph are kept, so that a second call in the same process, for example to
# predict another image, starts at once. Not more than one of each: it takes a hundred megabytes. A file of
# weights is identified by its contents, so another file of the same name is loaded.
_build_network = functools.lru_cache(maxsize=1)(build_network)


@functools.lru_cache(maxsize=1)
def _read_graph(
    base: Base, weights: WeightsSource, taps: tuple[str, ...], pool: Pool, image_size: int
) -> Quantised:
    found = read_quantised(Path(weights.name))
    made = found.origin
    if (made.base, found.taps, made.pool, made.image_size) != (base.name, taps, pool, image_size):
        raise BottleneckError(
            f"{weights.name} is a graph of {made.base} up to {made.tap} with pool {made.pool} at {made.image_size} "
            f"pixels, expected {base.name} up to {', '.join(taps)} with pool {pool} at {image_size}; give the "
            "float32 weights with --weights, and one is made"
        )
    return found


def make_request(spec: FeatureSpec) -> FeatureRequest:
    """Look up the base, the taps and the weights of a specification, without loading anything.

    Raises
    ------
    BottleneckError
        There is no such base, block or weights file, the base does not take the size, or a ``.keras`` file
        contradicts another option.
    """
    base, weights = spec.base, spec.weights
    found = base if isinstance(base, Base) else find_base(os.fspath(base), spec.preprocessing)
    if found.file is not None and weights is not None:
        raise BottleneckError(
            f"{found.file} has its own weights; leave --weights out, or give the name of a base with --base"
        )
    if found.file is not None and spec.precision != "float32":
        raise BottleneckError(
            f"{found.file} computes in the precision its layers were saved with; leave --precision out"
        )
    return FeatureRequest(
        base=found,
        taps=tuple(dict.fromkeys(find_tap(found, tap, spec.drop_blocks) for tap in spec.taps)),
        image_size=find_size(found, spec.image_size),
        weights=find_weights(found.file or ("imagenet" if weights is None else weights), spec.seed),
        pool=spec.pool,
        resize=spec.resize,
        precision=spec.precision,
        dtype=spec.stored_dtype,
        augmentation=spec.augmentation,
        views=spec.views,
    )


def request_from_recipes(
    recipes: Sequence[Recipe], weights: str | os.PathLike[str], views: int = 0
) -> FeatureRequest:
    """Request the features of existing recipes, with weights from `weights`.

    Parameters
    ----------
    recipes : sequence of Recipe
        They differ only in the tap.
    weights : str or path
    views : int
        Views of each image besides the plain one; 0 if the recipes have no augmentation.

    Raises
    ------
    BottleneckError
        This version cannot compute them any more, or there is no such weights file.
    """
    recipe = recipes[0]
    if recipe.precision == "int8" and not os.fspath(weights).endswith(SUFFIX):
        raise BottleneckError(
            f"features of {recipe.id} are computed with a quantised graph, not with {weights}; give that graph, "
            f"{recipe.weights}, with --weights, or leave --weights out"
        )
    own = is_backbone(recipe.base)
    request = make_request(
        FeatureSpec(
            base=find_backbone_again(recipe.base, Path(weights)) if own else recipe.base,
            weights=None if own else weights,
            tap=tuple(recipe.tap for recipe in recipes),
            pool=recipe.pool,
            image_size=recipe.image_size,
            resize=recipe.fit,
            precision=recipe.precision,
            dtype=recipe.dtype,
            views=views,
            augment=recipe.augmentation if views else PLAIN,
        )
    )
    if request.recipes(recipe.weights_digest) != tuple(r.of_view(views) for r in recipes):
        raise BottleneckError(
            f"features of {recipe.id} were computed by another version of bottleneck, which decoded images differently "
            f"({recipe.decoder}, this version: {DECODER}); extract and fit again with this version"
        )
    return request


def request_from_run(
    recipes: Sequence[Recipe],
    recorded: str,
    given: str | os.PathLike[str] | None,
    views: int = 0,
) -> FeatureRequest:
    """Request the features of a run's recipes.

    Parameters
    ----------
    recipes : sequence of Recipe
        They differ only in the tap.
    recorded : str
        Where the weights were when the run was fitted.
    given : str or path, optional
        Where the user says they are now.
    views : int
        Views of each image besides the plain one.

    Raises
    ------
    BottleneckError
        As for `request_from_recipes`. If the weights are in neither place, the message names the option.
    """
    try:
        return request_from_recipes(recipes, recorded if given is None else given, views)
    except BottleneckError as error:
        if given is not None or Path(recorded).exists():
            raise
        raise BottleneckError(
            f"the base's weights are not where they were when the run was fitted ({recorded}); "
            f"say where they are now with --weights (digest {recipes[0].weights_digest[:12]}…)"
        ) from error


def group_recipes(
    recipes: Sequence[Recipe], weights_paths: Sequence[str]
) -> list[tuple[list[Recipe], str]]:
    """Group recipes that one pass of a base computes: those that differ only in the tap."""
    found: dict[tuple[Recipe, str], list[Recipe]] = {}
    for recipe, weights_path in zip(recipes, weights_paths, strict=True):
        found.setdefault((dataclasses.replace(recipe, tap=""), weights_path), []).append(recipe)
    return [(group, weights_path) for (_, weights_path), group in found.items()]


def check_not_quantised(recipe: Recipe, why: str) -> None:
    """Check that a recipe's float32 weights are available.

    Raises
    ------
    BottleneckError
        Its features were computed in int8, which rounds the weights.
    """
    if recipe.precision == "int8":
        raise BottleneckError(
            f"{why}, and the features of {recipe.id} were computed in int8; extract again without --precision, and "
            "fit on that"
        )


def check_weights(found: str, recipe: Recipe, source: WeightsSource) -> None:
    """Check that the digest of loaded weights is the one a recipe records.

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
