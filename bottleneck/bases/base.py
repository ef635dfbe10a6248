"""What must be known of a network to use it as a base."""

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
    """What a network expects of pixels: ``pixels * scale + offset``, channel by channel.

    Attributes
    ----------
    scale, offset : tuple of float
        For pixels from 0 to 255, in the order the network takes the channels in.
    bgr : bool
        Whether that order is blue, green, red.
    """

    scale: Colour
    offset: Colour
    bgr: bool = False


PreprocessingName = Literal["tf", "caffe", "torch", "none"]

# by the names Keras has for them
PREPROCESSING: Mapping[str, Preprocessing] = {
    # to the range -1 … 1
    "tf": Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3),
    # the mean of ImageNet taken away, channels as Caffe had them
    "caffe": Preprocessing((1.0,) * 3, (-103.939, -116.779, -123.68), bgr=True),
    # mean 0 and standard deviation 1 on ImageNet
    "torch": Preprocessing(
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
    ),
    # pixels as they are, where preparing them is part of the network
    "none": Preprocessing((1.0,) * 3, (0.0,) * 3),
}


@dataclass(frozen=True)
class Base:
    """What must be known of a network to use it as a base.

    Attributes
    ----------
    name : str
        What the user calls it; for a network of the user's own, what recipes call it.
    builder : str
        The function that builds it, as ``module:name``.
    image_size, min_size : int
        Side of the square it was trained on, and the least it takes, in pixels.
    taps : tuple of str
        The ends of its blocks, from the lowest to the highest, which is the default. Any other layer
        can be tapped by its name in Keras besides. ``top`` alone where its blocks are not listed.
    preprocessing : Preprocessing
    source : str
        The paper that describes it.
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
        """What ``--base`` takes for it, on a command line."""
        return shlex.quote(self.file) if self.file else self.name


def find_tap(base: Base, tap: str | None, drop_blocks: int = 0) -> str:
    """Tell which layer is meant.

    Parameters
    ----------
    base : Base
    tap : str, optional
        The end of a block, with or without the ending of its layer's name; ``top``; or any layer, which
        only the network itself can tell. By default the highest.
    drop_blocks : int
        Without a tap: how many blocks to leave out at the top.

    Raises
    ------
    BottleneckError
        Both are given, or there are not so many blocks.

    Examples
    --------
    >>> from bottleneck.bases.registry import find_base
    >>> find_tap(find_base("inception_v3"), None, drop_blocks=3)
    'mixed7'
    >>> find_tap(find_base("resnet50"), "conv4_block1")
    'conv4_block1_out'
    """
    if tap is not None and drop_blocks:
        raise BottleneckError("--tap and --drop-blocks both say where to cut; give one of them")
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
    """Return the image size asked for, or the base's own, checked against what it takes."""
    if image_size is None:
        return base.image_size
    if base.fixed_size and image_size != base.image_size:
        raise BottleneckError(
            f"{base.argument} takes pictures of {base.image_size} pixels and no others, not {image_size}; leave "
            "--image-size out"
        )
    if image_size < base.min_size:
        raise BottleneckError(
            f"image size {image_size} is too small for {base.name}: it takes {base.min_size} pixels or "
            f"more (and was trained on {base.image_size}); set it with --image-size"
        )
    return image_size


def empty_map(base: Base, image_size: int) -> BottleneckError:
    """Say that a base cannot take pictures of a size, so that it can be raised."""
    return BottleneckError(
        f"{base.name} cannot take pictures of {image_size} pixels: a map in it would be empty, or two would not fit "
        "together; give another size, as a rule a larger one, with --image-size"
    )
