"""The bases there are, as data: to add one is to add an entry here."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import BottleneckError

Colour = tuple[float, float, float]


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


# to the range -1 … 1
_SYMMETRIC = Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3)

# the mean of ImageNet taken away, channels as Caffe had them
_CAFFE = Preprocessing((1.0,) * 3, (-103.939, -116.779, -123.68), bgr=True)


@dataclass(frozen=True)
class Base:
    """What must be known of a network to use it as a base.

    Attributes
    ----------
    name : str
        What the user calls it.
    builder : str
        The function that builds it, as ``module:name``.
    image_size, min_size : int
        Side of the square it was trained on, and the least it takes, in pixels.
    taps : tuple of str
        The ends of its blocks, from the lowest to the highest, which is the default. Any other layer
        can be tapped by its name in Keras besides.
    preprocessing : Preprocessing
    source : str
        The paper that describes it.
    hub : str or None
        The repository of its ImageNet weights on the Hugging Face hub, where Keras has none.
    options : dict
        What else the builder is given.
    before : dict
        For taps that no layer is called after: the layer that takes them in.
    """

    name: str
    builder: str
    image_size: int
    min_size: int
    taps: tuple[str, ...]
    preprocessing: Preprocessing
    source: str
    hub: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    before: Mapping[str, str] = dataclasses.field(default_factory=dict)


_VGG = "Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Image Recognition"
_RESNET_BLOCKS = tuple(
    f"conv{stage}_block{block}_out"
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
    for block in range(1, blocks + 1)
)

_MOBILENET = Base(
    name="mobilenet",
    builder="keras.applications:MobileNet",
    image_size=224,
    min_size=32,
    taps=tuple(f"conv_pw_{i}_relu" for i in range(1, 14)),
    preprocessing=_SYMMETRIC,
    source="Howard et al. 2017, MobileNets",
)

BASES = {
    base.name: base
    for base in [
        Base(
            name="inception_v3",
            builder="keras.applications:InceptionV3",
            image_size=299,
            min_size=75,
            taps=tuple(f"mixed{i}" for i in range(11)),
            preprocessing=_SYMMETRIC,
            source="Szegedy et al. 2015, Rethinking the Inception Architecture for Computer Vision",
        ),
        Base(
            name="inception_v4",
            builder="bottleneck.bases.inception_v4:InceptionV4",
            image_size=299,
            min_size=75,
            taps=(
                *("stem_3", "stem_4", "stem_5"),
                *(f"inception_a_{i}" for i in range(1, 5)),
                "reduction_a",
                *(f"inception_b_{i}" for i in range(1, 8)),
                "reduction_b",
                *(f"inception_c_{i}" for i in range(1, 4)),
            ),
            preprocessing=_SYMMETRIC,
            source="Szegedy et al. 2016, Inception-v4, Inception-ResNet and the Impact of …",
            hub="timm/inception_v4.tf_in1k",
        ),
        Base(
            name="inception_resnet_v2",
            builder="keras.applications:InceptionResNetV2",
            image_size=299,
            min_size=75,
            taps=(
                "mixed_5b",
                *(f"block35_{i}_ac" for i in range(1, 11)),
                "mixed_6a",
                *(f"block17_{i}_ac" for i in range(1, 21)),
                "mixed_7a",
                # the last of them ends without an activation, and in no layer of that name
                *(f"block8_{i}_ac" for i in range(1, 10)),
                "conv_7b_ac",
            ),
            preprocessing=_SYMMETRIC,
            source="Szegedy et al. 2016, Inception-v4, Inception-ResNet and the Impact of …",
        ),
        Base(
            name="xception",
            builder="keras.applications:Xception",
            image_size=299,
            min_size=71,
            taps=(
                "block1_conv2_act",
                *(f"block{i}_out" for i in range(2, 14)),
                "block14_sepconv2_act",
            ),
            # the sums at the ends of its blocks are called add_7, or otherwise the next time
            before={
                **{f"block{i}_out": f"block{i + 1}_sepconv1_act" for i in range(2, 13)},
                "block13_out": "block14_sepconv1",
            },
            preprocessing=_SYMMETRIC,
            source="Chollet 2016, Xception: Deep Learning with Depthwise Separable Convolutions",
        ),
        Base(
            name="vgg16",
            builder="keras.applications:VGG16",
            image_size=224,
            min_size=32,
            taps=tuple(f"block{i}_pool" for i in range(1, 6)),
            preprocessing=_CAFFE,
            source=_VGG,
        ),
        Base(
            name="vgg19",
            builder="keras.applications:VGG19",
            image_size=224,
            min_size=32,
            taps=tuple(f"block{i}_pool" for i in range(1, 6)),
            preprocessing=_CAFFE,
            source=_VGG,
        ),
        Base(
            name="resnet50",
            builder="keras.applications:ResNet50",
            image_size=224,
            min_size=32,
            taps=_RESNET_BLOCKS,
            preprocessing=_CAFFE,
            source="He et al. 2015, Deep Residual Learning for Image Recognition",
        ),
        Base(
            name="resnet50v2",
            builder="keras.applications:ResNet50V2",
            image_size=224,
            min_size=32,
            taps=(*_RESNET_BLOCKS, "post_relu"),
            preprocessing=_SYMMETRIC,
            source="He et al. 2016, Identity Mappings in Deep Residual Networks",
        ),
        _MOBILENET,
        *(
            # narrower: each layer has this share of the channels
            dataclasses.replace(
                _MOBILENET, name=f"mobilenet_{alpha}", options={"alpha": float(alpha)}
            )
            for alpha in ("0.75", "0.5", "0.25")
        ),
        Base(
            name="mobilenet_v2",
            builder="keras.applications:MobileNetV2",
            image_size=224,
            min_size=32,
            taps=(
                "expanded_conv_project_BN",
                *(
                    # a block whose size does not change is added to what it was given
                    f"block_{i}_{'project_BN' if i in {1, 3, 6, 10, 13, 16} else 'add'}"
                    for i in range(1, 17)
                ),
                "out_relu",
            ),
            preprocessing=_SYMMETRIC,
            source="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        ),
    ]
}


def find_base(name: str) -> Base:
    """Look a base up by name.

    Raises
    ------
    BottleneckError
        There is no such base; the message names those that come nearest.

    Examples
    --------
    >>> find_base("inception_v3").taps[-1]
    'mixed10'
    >>> find_base("resnet")
    Traceback (most recent call last):
    bottleneck.errors.BottleneckError: unknown base 'resnet'; did you mean resnet50 ...
    """
    if name in BASES:
        return BASES[name]
    # 0.4: generous, for the list is short and a guess costs nothing
    near = difflib.get_close_matches(name.lower(), BASES, n=3, cutoff=0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else "."
    raise BottleneckError(f"unknown base {name!r}{guess} Give one with --base: {', '.join(BASES)}")


def find_tap(base: Base, tap: str | None, drop_blocks: int = 0) -> str:
    """Tell which layer is meant.

    Parameters
    ----------
    base : Base
    tap : str, optional
        The end of a block, with or without the ending of its layer's name; or any layer, which only
        the network itself can tell. By default the highest.
    drop_blocks : int
        Without a tap: how many blocks to leave out at the top.

    Raises
    ------
    BottleneckError
        Both are given, or there are not so many blocks.

    Examples
    --------
    >>> find_tap(find_base("inception_v3"), None, drop_blocks=3)
    'mixed7'
    >>> find_tap(find_base("resnet50"), "conv4_block1")
    'conv4_block1_out'
    """
    if tap is not None and drop_blocks:
        raise BottleneckError("--tap and --drop-blocks both say where to cut; give one of them")
    if tap is None:
        if not 0 <= drop_blocks < len(base.taps):
            raise BottleneckError(
                f"{base.name} has {len(base.taps)} blocks; --drop-blocks takes 0 to {len(base.taps) - 1}, "
                f"not {drop_blocks}"
            )
        return base.taps[-1 - drop_blocks]
    ends = [name for name in base.taps if name.startswith(f"{tap}_")]
    return ends[0] if len(ends) == 1 and tap not in base.taps else tap


def find_size(base: Base, image_size: int | None) -> int:
    """Return the image size asked for, or the base's own, checked against the least it takes."""
    if image_size is None:
        return base.image_size
    if image_size < base.min_size:
        raise BottleneckError(
            f"image size {image_size} is too small for {base.name}: it takes {base.min_size} pixels or "
            f"more (and was trained on {base.image_size}); set it with --image-size"
        )
    return image_size
