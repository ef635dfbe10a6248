"""Description of a base: builder, sizes, taps, preprocessing."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bottleneck.errors import BottleneckError

Colour = tuple[float, float, float]

# The tap that every base has: the output of the network.
TOP = "top"


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of pixels: ``pixels * scale + offset``, channel by channel.

    Attributes
    ----------
    scale, offset : tuple of float
        For pixels from 0 to 255, in the channel order of the network.
    bgr : bool
        Whether the channel order is blue, green, red.
    """

    scale: Colour
    offset: Colour
    bgr: bool = False


PreprocessingName = Literal["tf", "caffe", "torch", "none"]

# by the names that Keras uses
PREPROCESSING: Mapping[str, Preprocessing] = {
    # to the range -1 … 1
    "tf": Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3),
    # the mean of ImageNet subtracted, channels in BGR order
    "caffe": Preprocessing((1.0,) * 3, (-103.939, -116.779, -123.68), bgr=True),
    # mean 0 and standard deviation 1 on ImageNet
    "torch": Preprocessing(
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
    ),
    # unchanged pixels, for networks that include their preprocessing
    "none": Preprocessing((1.0,) * 3, (0.0,) * 3),
}


@dataclass(frozen=True)
class Base:
    """A pretrained network that can be used as a base.

    Attributes
    ----------
    name : str
        Name in options; for a `.keras` file, the name in recipes.
    builder : str
        Function that builds the network, as ``module:name``.
    image_size, min_size : int
        Side of the images it was trained on, and the smallest it supports, in pixels.
    taps : tuple of str
        Ends of its blocks, from the lowest to the highest, which is the default. Any other layer can be
        tapped by its Keras name. Only ``top`` if the blocks are not listed.
    preprocessing : Preprocessing
    source : str
        Paper that describes the network.
    hub : str or None
        The repository of its ImageNet weights on the Hugging Face hub, where Keras has none.
    options : dict
        What else the builder is given.
    before : dict
        For taps that no layer is called after: the layer that takes them in.
    normalised_scale : tuple of float or None
        What normalised pixels are multiplied by, where Keras does so only in a network whose weights it
        downloads itself. It is no tensor, so no file of weights holds it.
    file : str or None
        The ``.keras`` file of a network of the user's own.
    fixed_size : bool
        Whether it takes no other size than its own.
    """

    name: str
    builder: str
    image_size: int
    min_size: int
    taps: tuple[str, ...]
    preprocessing: Preprocessing
    source: str
    hub: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    before: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    normalised_scale: Colour | None = None
    file: str | None = None
    fixed_size: bool = False

    @property
    def argument(self) -> str:
        """The value of ``--base`` for this network, quoted for a shell."""
        return shlex.quote(self.file) if self.file else self.name


def find_tap(base: Base, tap: str | None, drop_blocks: int = 0) -> str:
    """Resolve a tap to the name of a layer.

    Parameters
    ----------
    base : Base
    tap : str, optional
        End of a block, with or without the suffix of its layer name; ``top``; or any layer, which is checked
        when the network is built. By default the highest.
    drop_blocks : int
        Without a tap: number of blocks to leave out at the top.

    Raises
    ------
    BottleneckError
        Both are given, or the base has fewer blocks.

    Examples
    --------
    >>> from bottleneck.bases.registry import find_base
    >>> find_tap(find_base("inception_v3"), None, drop_blocks=3)
    'mixed7'
    >>> find_tap(find_base("resnet50"), "conv4_block1")
    'conv4_block1_out'
    """
    if tap is not None and drop_blocks:
        raise BottleneckError("--tap and --drop-blocks exclude each other; give one of them")
    if drop_blocks and base.taps == (TOP,):
        raise BottleneckError(
            f"the blocks of {base.argument} are not listed, so --drop-blocks cannot count them; name a layer with "
            f"--tap, one of those listed by: bottleneck bases show {base.argument}"
        )
    if tap is None or tap == TOP:
        if not 0 <= drop_blocks < len(base.taps):
            raise BottleneckError(
                f"{base.name} has {len(base.taps)} blocks; --drop-blocks takes 0 to {len(base.taps) - 1}, "
                f"not {drop_blocks}"
            )
        return base.taps[-1 - drop_blocks]
    ends = [name for name in base.taps if name.startswith(f"{tap}_")]
    return ends[0] if len(ends) == 1 and tap not in base.taps else tap


def find_size(base: Base, image_size: int | None) -> int:
    """Return the requested image size, or the base's default; check that the base supports it."""
    if image_size is None:
        return base.image_size
    if base.fixed_size and image_size != base.image_size:
        raise BottleneckError(
            f"{base.argument} takes images of {base.image_size} pixels only, not {image_size}; leave --image-size "
            "out"
        )
    if image_size < base.min_size:
        raise BottleneckError(
            f"image size {image_size} is too small for {base.name}: expected {base.min_size} pixels "
            f"or more (it was trained on {base.image_size}); set it with --image-size"
        )
    return image_size


def empty_map(base: Base, image_size: int) -> BottleneckError:
    """Make the error for an image size that a base does not support."""
    return BottleneckError(
        f"{base.name} cannot take images of {image_size} pixels: a map would be empty, or two maps would not have the "
        "same size; give another size, usually a larger one, with --image-size"
    )
