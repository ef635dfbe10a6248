"""Feature specification: the options that determine which features are computed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.bases.base import Base
from bottleneck.bases.network import POOLS, Pool
from bottleneck.cache.quantised import SUFFIX, read_checked
from bottleneck.cache.recipe import DTYPES, MAX_VIEWS, PLAIN, PRECISIONS, Dtype, Precision
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.protocol import nncf_installed, openvino_installed
from bottleneck.images.augment import Augmentation, parse_augmentation
from bottleneck.images.decode import FITS, Fit


@dataclass(frozen=True)
class FeatureSpec:
    """Feature options as the user gives them, with their defaults; checked when it is created.

    The command line takes its options and defaults from these fields, and `bottleneck.extract` and
    `bottleneck.BottleneckFeatures` have the same ones. `bottleneck.extraction.request.make_request`
    looks up the base, its taps and its weights.

    Attributes
    ----------
    base : str, path or Base
        Name of the base, or a ``.keras`` file.
    weights : str or path, optional
        ``imagenet``, ``random`` or a file; by default ``imagenet``, or the weights of the ``.keras`` file.
    preprocessing : {"tf", "caffe", "torch", "none"}, optional
        What the network in a ``.keras`` file expects of pixels.
    tap : str or sequence of str, optional
        Layers to keep, in the order of the features; by default the last before the classifier.
    drop_blocks : int
        In place of a tap: number of blocks to leave out at the top.
    pool : {"avg", "max", "none"}
        How a tap's map becomes a vector.
    image_size : int, optional
        Side of the square shown to the base, in pixels; by default the size it was trained on.
    resize : {"squash", "crop"}
        Scale both sides, or keep proportions and crop the centre. A recipe calls it `fit`.
    precision : {"float32", "bfloat16", "float16", "int8"}
        What the base computes in.
    dtype : {"float32", "float16"}, optional
        What features are stored in; by default float32 for vectors and float16 for maps.
    views : int
        Augmented views of each image besides the plain one.
    augment : str
        How views are made, see `bottleneck.images.augment.parse_augmentation`.
    seed : int
        For random weights.

    Raises
    ------
    BottleneckError
        A value is unknown, two options contradict each other, or int8 needs packages that are not installed.
    """

    base: str | os.PathLike[str] | Base = "inception_v3"
    weights: str | os.PathLike[str] | None = None
    preprocessing: str | None = None
    tap: str | Sequence[str] | None = None
    drop_blocks: int = 0
    pool: Pool = "avg"
    image_size: int | None = None
    resize: Fit = "squash"
    precision: Precision = "float32"
    dtype: Dtype | None = None
    views: int = 0
    augment: str = PLAIN
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--pool", self.pool, POOLS),
            ("--resize", self.resize, FITS),
            ("--precision", self.precision, PRECISIONS),
            ("--dtype", self.stored_dtype, DTYPES),
        ):
            if value not in known:
                raise BottleneckError(f"unknown value {value!r} for {option}: {', '.join(known)}")
        self._check_precision()
        self._check_views()

    @property
    def taps(self) -> tuple[str | None, ...]:
        """The taps asked for; None is the last before the classifier."""
        if self.tap is None or isinstance(self.tap, str):
            return (self.tap,)
        return tuple(self.tap) or (None,)

    @property
    def stored_dtype(self) -> Dtype:
        """What features are stored in, by default what suits the pooling."""
        # a map is about a hundred times as large as a vector, and its last digits do not matter later
        return self.dtype or ("float16" if self.pool == "none" else "float32")

    @property
    def augmentation(self) -> Augmentation:
        """How views are made."""
        return parse_augmentation(self.augment)

    def _check_precision(self) -> None:
        weights = str(self.weights)
        quantised = weights.endswith(SUFFIX)
        if self.precision != "int8":
            if quantised:
                raise BottleneckError(
                    f"{weights} is a quantised graph; give --precision int8, or other weights"
                )
            return
        if not openvino_installed() or not (quantised or nncf_installed()):
            raise BottleneckError(
                "--precision int8 needs OpenVINO and NNCF; install bottleneck-features[int8], or leave --precision out"
            )
        if len(self.taps) > 1:
            raise BottleneckError(
                f"--precision int8 takes one tap, because a graph is quantised up to it, not {len(self.taps)}; "
                "extract them one by one"
            )
        if quantised:
            read_checked(Path(weights))

    def _check_views(self) -> None:
        augmented = self.augmentation != Augmentation()
        if not 0 <= self.views < MAX_VIEWS:
            raise BottleneckError(
                f"--views takes a number from 0 to {MAX_VIEWS - 1}, not {self.views}"
            )
        if self.views and not augmented:
            raise BottleneckError(
                f"--views {self.views} asks for views that differ from the plain image; say how with --augment, "
                "for example --augment flip,rotate=15,shift=0.1,zoom=0.2,brightness=0.1"
            )
        if augmented and not self.views:
            raise BottleneckError(
                f"--augment {self.augment} says how views are made, but --views is 0; give their number with --views"
            )
