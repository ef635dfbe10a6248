"""Which features are wanted, the network that makes them, and what runs it."""

import dataclasses
import functools
import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backbone import find_backbone_again, is_backbone
from bottleneck.bases.backend import has_gpu
from bottleneck.bases.base import Base, find_size, find_tap
from bottleneck.bases.network import POOLS, Network, Pool, build_network
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import WeightsSource, find_weights
from bottleneck.cache.quantised import SUFFIX, Quantised, checked, read_quantised
from bottleneck.cache.recipe import (
    DTYPES,
    PLAIN,
    PRECISIONS,
    Dtype,
    Precision,
    Recipe,
    RecipeFile,
)
from bottleneck.cache.shard import MAX_VIEWS
from bottleneck.errors import BottleneckError
from bottleneck.images.augment import Augmentation, parse_augmentation
from bottleneck.images.decode import DECODER, FITS, Fit

_log = logging.getLogger("bottleneck")

EngineName = Literal["auto", "keras", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# Images to a batch on a CPU. On two cores the rate does not depend on it between 8 and 32; a small one
# wastes less on the padding of the last.
BATCH_SIZE = 16


class Engine(Protocol):
    """What runs the base: uint8 pixels in, float32 features of one tap or more out."""

    @property
    def name(self) -> str:
        """What ``--engine`` takes for it."""
        ...

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps, in the order of the features."""
        ...

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features, for each tap."""
        ...

    @property
    def batch_size(self) -> int:
        """Images to a batch."""
        ...

    @property
    def in_flight(self) -> int:
        """How many batches it takes at once, each from a thread of its own."""
        ...

    def features(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Run the base over a batch, always of that size."""
        ...


@dataclass(frozen=True)
class Wanted:
    """Everything a recipe says but the digest of the weights, which takes loading them.

    Attributes
    ----------
    base : Base
    weights : WeightsSource
    taps : tuple of str
        One or more, in the order they were asked for.
    pool, image_size, fit, precision, dtype
        As in `bottleneck.cache.recipe.Recipe`.
    augmentation : Augmentation
    views : int
        Views of each image besides the plain one.
    """

    base: Base
    weights: WeightsSource
    taps: tuple[str, ...]
    pool: Pool
    image_size: int
    fit: Fit
    precision: Precision
    dtype: Dtype
    augmentation: Augmentation
    views: int

    @property
    def quantised(self) -> bool:
        """Whether the weights are a quantised graph."""
        return self.weights.name.endswith(SUFFIX)

    def recipes(self, weights_digest: str) -> tuple[Recipe, ...]:
        """Complete the recipes, one for each tap."""
        return tuple(
            Recipe(
                base=self.base.name,
                tap=tap,
                pool=self.pool,
                weights=Path(self.weights.name).name,
                weights_digest=weights_digest,
                image_size=self.image_size,
                fit=self.fit,
                decoder=DECODER,
                precision=self.precision,
                dtype=self.dtype,
                augmentation=str(self.augmentation),
            )
            for tap in self.taps
        )

    def recognise(self, known: tuple[RecipeFile, ...]) -> str | None:
        """Tell the digest of the weights, where recipes known tell it without loading them."""
        if self.precision == "int8":
            return self.weights.fingerprint.removeprefix("sha256:") if self.quantised else None
        for entry in known:
            if (
                entry.recipe.base == self.base.name
                and self.weights.fingerprint in entry.fingerprints
            ):
                return entry.recipe.weights_digest
        return None

    def build(self, taps: tuple[str, ...] | None = None) -> Network | Quantised:
        """Build the network, up to some of the taps only; this imports Keras. The last one is kept.

        Where the weights are a quantised graph, it is that and read, and nothing is imported.
        """
        return _build(
            self.base,
            self.weights,
            taps or self.taps,
            self.pool,
            self.image_size,
            self.precision,
        )


# One, and not more, for it takes a hundred megabytes. It is what makes a second call in the same
# process, to predict another picture say, start at once.
@functools.lru_cache(maxsize=1)
def _build(
    base: Base,
    weights: WeightsSource,
    taps: tuple[str, ...],
    pool: Pool,
    image_size: int,
    precision: Precision,
) -> Network | Quantised:
    # a file of weights is known by its contents, so another file of the same name is built anew
    if precision == "int8":
        return _read(base, weights, taps, pool, image_size)
    return build_network(base, weights, taps, pool, image_size, precision)


def _read(
    base: Base, weights: WeightsSource, taps: tuple[str, ...], pool: Pool, image_size: int
) -> Quantised:
    found = read_quantised(Path(weights.name))
    made = found.origin
    if (made.base, found.taps, made.pool, made.image_size) != (base.name, taps, pool, image_size):
        raise BottleneckError(
            f"{weights.name} is a graph of {made.base} up to {made.tap} with pool {made.pool} at {made.image_size} "
            f"pixels, asked for is {base.name} up to {', '.join(taps)} with pool {pool} at {image_size}; give the "
            "float32 weights with --weights, and one is made"
        )
    return found


def nncf_installed() -> bool:
    """Whether NNCF can be imported, without importing it."""
    return importlib.util.find_spec("nncf") is not None


def openvino_installed() -> bool:
    """Whether OpenVINO can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def refuse_keras(name: EngineName) -> None:
    """Refuse to run a quantised graph with Keras.

    Raises
    ------
    BottleneckError
        So it was asked for.
    """
    if name == "keras":
        raise BottleneckError(
            "Keras cannot compute in int8; leave --engine out, or give --engine openvino"
        )


def start_engine(network: Network | Quantised, name: EngineName, batch_size: int | None) -> Engine:
    """Make the engine that runs a network, or take the last one again.

    Parameters
    ----------
    network : Network or Quantised
        The latter is run by OpenVINO only.
    name : {"auto", "keras", "openvino"}
        ``auto`` is OpenVINO where it is installed, there is no GPU and it can run this network, and
        Keras everywhere else.
    batch_size : int or None
        Images to a batch. None stands for 16 on a CPU; on a GPU for the largest power of two up to 256 that its
        memory takes. It is not tuned beyond that: another size changes the last bits of features, and the same
        machine is to give the same ones.

    Raises
    ------
    BottleneckError
        OpenVINO was asked for and cannot run this network, or Keras.
    """
    if isinstance(network, Quantised):
        refuse_keras(name)
        return _openvino(network, batch_size or BATCH_SIZE)
    if name == "openvino":
        return _openvino(network, batch_size or BATCH_SIZE)
    if name == "auto" and openvino_installed() and not has_gpu():
        try:
            return _openvino(network, batch_size or BATCH_SIZE)
        except BottleneckError as error:
            _log.info("Keras runs the base: %s", error)
    return _keras(network, batch_size)


# One of each, as of networks.
@functools.lru_cache(maxsize=1)
def _keras(network: Network, batch_size: int | None) -> Engine:
    from bottleneck.extraction.keras_engine import KerasEngine, largest_batch, run_full

    if batch_size is None and has_gpu():
        batch_size = largest_batch(functools.partial(run_full, network))
    return KerasEngine(network, batch_size or BATCH_SIZE)


@functools.lru_cache(maxsize=1)
def _openvino(network: Network | Quantised, batch_size: int) -> Engine:
    from bottleneck.extraction.openvino_engine import OpenvinoEngine

    return OpenvinoEngine(network, batch_size)


def choose(
    base: str | os.PathLike[str] | Base,
    weights: str | os.PathLike[str] | None = None,
    *,
    preprocessing: str | None = None,
    taps: str | Sequence[str] | None = None,
    drop_blocks: int = 0,
    pool: Pool = "avg",
    image_size: int | None = None,
    fit: Fit = "squash",
    precision: Precision = "float32",
    dtype: Dtype | None = None,
    augmentation: str = PLAIN,
    views: int = 0,
    seed: int = 0,
) -> Wanted:
    """Check what was asked for against what there is, without loading anything.

    Raises
    ------
    BottleneckError
        There is no such base, block, pool, fit, precision, type or weights file, the base does not
        take the size, or views are asked for without saying how they are made.
    """
    found = base if isinstance(base, Base) else find_base(os.fspath(base), preprocessing)
    if found.file is not None and weights is not None:
        raise BottleneckError(
            f"{found.file} brings its own weights; leave --weights out, or give the name of a base with --base"
        )
    if found.file is not None and precision != "float32":
        raise BottleneckError(
            f"{found.file} computes in what its layers were saved with; leave --precision out"
        )
    if dtype is None:
        # a map takes a hundred times a vector's room, and its last digits are lost in what follows
        dtype = "float16" if pool == "none" else "float32"
    for option, value, known in (
        ("--pool", pool, POOLS),
        ("--fit", fit, FITS),
        ("--precision", precision, PRECISIONS),
        ("--dtype", dtype, DTYPES),
    ):
        if value not in known:
            raise BottleneckError(f"unknown value {value!r} for {option}: {', '.join(known)}")
    asked: Sequence[str | None] = [taps] if isinstance(taps, str) else taps or [None]
    _refuse_unfit(precision, str(weights), len(asked))
    return Wanted(
        base=found,
        taps=tuple(dict.fromkeys(find_tap(found, tap, drop_blocks) for tap in asked)),
        image_size=find_size(found, image_size),
        weights=find_weights(found.file or ("imagenet" if weights is None else weights), seed),
        pool=pool,
        fit=fit,
        precision=precision,
        dtype=dtype,
        augmentation=_find_augmentation(augmentation, views),
        views=views,
    )


def _refuse_unfit(precision: Precision, weights: str, taps: int) -> None:
    """Refuse int8 where it cannot be had, and what was made for it where something else is asked for."""
    quantised = weights.endswith(SUFFIX)
    if precision != "int8":
        if quantised:
            raise BottleneckError(
                f"{weights} is a quantised graph; give --precision int8, or other weights"
            )
        return
    if not openvino_installed() or not (quantised or nncf_installed()):
        raise BottleneckError(
            "--precision int8 needs OpenVINO and NNCF; install bottleneck-features[int8], or leave --precision out"
        )
    if taps > 1:
        raise BottleneckError(
            f"--precision int8 takes one tap, for a graph is quantised up to it, not {taps}; extract them one by one"
        )
    if quantised:
        checked(Path(weights))


def _find_augmentation(text: str, views: int) -> Augmentation:
    augmentation = parse_augmentation(text)
    if not 0 <= views < MAX_VIEWS:
        raise BottleneckError(f"--views takes a number from 0 to {MAX_VIEWS - 1}, not {views}")
    if views and augmentation == Augmentation():
        raise BottleneckError(
            f"--views {views} asks for views that differ from the plain picture; say how with --augment, "
            "for example --augment flip,rotate=15,shift=0.1,zoom=0.2,brightness=0.1"
        )
    if not views and augmentation != Augmentation():
        raise BottleneckError(
            f"--augment {text} says how views are made, and none are asked for; give their number with --views"
        )
    return augmentation


def choose_again(
    recipes: Sequence[Recipe], weights: str | os.PathLike[str], views: int = 0
) -> Wanted:
    """Ask for the features of recipes there are, with weights from `weights`.

    Parameters
    ----------
    recipes : sequence of Recipe
        They differ in the tap only.
    weights : str or path
    views : int
        Views of each image besides the plain one; none where the recipes have no augmentation.

    Raises
    ------
    BottleneckError
        This version cannot make them any more, or there is no such weights file.
    """
    recipe = recipes[0]
    if recipe.precision == "int8" and not os.fspath(weights).endswith(SUFFIX):
        raise BottleneckError(
            f"features of {recipe.id} are made with a quantised graph, not with {weights}; give --weights that "
            f"graph, {recipe.weights}, or leave --weights out"
        )
    own = is_backbone(recipe.base)
    wanted = choose(
        find_backbone_again(recipe.base, Path(weights)) if own else recipe.base,
        None if own else weights,
        taps=[recipe.tap for recipe in recipes],
        pool=recipe.pool,
        image_size=recipe.image_size,
        fit=recipe.fit,
        precision=recipe.precision,
        dtype=recipe.dtype,
        augmentation=recipe.augmentation if views else PLAIN,
        views=views,
    )
    if wanted.recipes(recipe.weights_digest) != tuple(r.of_view(views) for r in recipes):
        raise BottleneckError(
            f"features of {recipe.id} were made by another version of bottleneck, which decoded pictures otherwise "
            f"({recipe.decoder}, this one: {DECODER}); extract and fit again with this one"
        )
    return wanted


def choose_known(
    recipes: Sequence[Recipe],
    known: str,
    given: str | os.PathLike[str] | None,
    views: int = 0,
) -> Wanted:
    """Ask for the features of a run's recipes, with weights from where they were or are now.

    Parameters
    ----------
    recipes : sequence of Recipe
        They differ in the tap only.
    known : str
        Where the run says the weights are.
    given : str or path, optional
        Where the user says they are.
    views : int
        Views of each image besides the plain one.

    Raises
    ------
    BottleneckError
        As for `choose_again`; where they are nowhere, the message says how to name another place.
    """
    try:
        return choose_again(recipes, known if given is None else given, views)
    except BottleneckError as error:
        if given is not None or Path(known).exists():
            raise
        raise BottleneckError(
            f"the base's weights are not where they were when the run was fitted ({known}); "
            f"say where they are now with --weights (digest {recipes[0].weights_digest[:12]}…)"
        ) from error


def passes(
    recipes: Sequence[Recipe], weights_paths: Sequence[str]
) -> list[tuple[list[Recipe], str]]:
    """Put recipes together that one pass of a base fills: those that differ in the tap only."""
    found: dict[tuple[Recipe, str], list[Recipe]] = {}
    for recipe, weights_path in zip(recipes, weights_paths, strict=True):
        found.setdefault((dataclasses.replace(recipe, tap=""), weights_path), []).append(recipe)
    return [(together, weights_path) for (_, weights_path), together in found.items()]


def refuse_quantised(recipe: Recipe, why: str) -> None:
    """Refuse a recipe whose weights were rounded away.

    Raises
    ------
    BottleneckError
        Its features were computed in int8.
    """
    if recipe.precision == "int8":
        raise BottleneckError(
            f"{why}, and the features of {recipe.id} were computed in int8; extract again without --precision, and "
            "fit on that"
        )


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
