"""Families of networks whose members differ in depth, width and size."""

import math
from collections.abc import Iterator

from bottleneck.bases.base import PREPROCESSING, TOP, Base

# The smallest side that Keras supports for all of these.
_MIN_SIZE = 32

# These networks include their preprocessing.
_INCLUDED = PREPROCESSING["none"]


def _efficientnet_taps(first: str, repeats: tuple[int, ...]) -> Iterator[str]:
    """Yield the ends of blocks; every block but the first of a stage ends in a residual sum."""
    yield first
    for stage, blocks in enumerate(repeats, start=1):
        for block in range(blocks):
            if (stage, block) != (1, 0):
                end = "add" if block else "project_bn"
                yield f"block{stage}{chr(ord('a') + block)}_{end}"
    yield "top_activation"


# Size, and how many times the blocks of b0 are repeated in each stage.
_EFFICIENTNETS = {
    "b0": (224, 1.0),
    "b1": (240, 1.1),
    "b2": (260, 1.2),
    "b3": (300, 1.4),
    "b4": (380, 1.8),
    "b5": (456, 2.2),
    "b6": (528, 2.6),
    "b7": (600, 3.1),
}
EFFICIENTNETS = tuple(
    Base(
        name=f"efficientnet_{member}",
        builder=f"keras.applications:EfficientNet{member.upper()}",
        image_size=size,
        min_size=_MIN_SIZE,
        taps=tuple(
            _efficientnet_taps(
                "block1a_project_bn",
                tuple(math.ceil(depth * blocks) for blocks in (1, 2, 2, 3, 3, 4, 1)),
            )
        ),
        preprocessing=_INCLUDED,
        source="Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional …",
        # normalised with the public weights, pixels are divided by the root of ImageNet's deviation;
        # this is the other root
        normalised_scale=(0.229**-0.5, 0.224**-0.5, 0.225**-0.5),
    )
    for member, (size, depth) in _EFFICIENTNETS.items()
)

# Size, where the first block ends (a shortcut is added where the number of channels stays), and the
# blocks of each stage.
_EFFICIENTNETS_V2 = {
    "b0": (224, "project_activation", (1, 2, 2, 3, 5, 8)),
    "b1": (240, "project_activation", (2, 3, 3, 4, 6, 9)),
    "b2": (260, "project_activation", (2, 3, 3, 4, 6, 10)),
    "b3": (300, "project_activation", (2, 3, 3, 5, 7, 12)),
    "s": (384, "add", (2, 4, 4, 6, 9, 15)),
    "m": (480, "add", (3, 5, 5, 7, 14, 18, 5)),
    "l": (480, "add", (4, 7, 7, 10, 19, 25, 7)),
}
EFFICIENTNETS_V2 = tuple(
    Base(
        name=f"efficientnet_v2_{member}",
        builder=f"keras.applications:EfficientNetV2{member.upper()}",
        image_size=size,
        min_size=_MIN_SIZE,
        taps=tuple(_efficientnet_taps(f"block1a_{first}", repeats)),
        preprocessing=_INCLUDED,
        source="Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training",
    )
    for member, (size, first, repeats) in _EFFICIENTNETS_V2.items()
)


def _convnext(member: str, builder: str, depths: tuple[int, ...]) -> Base:
    # Blocks end in sums without names of their own. In the same stage the next block takes the sum
    # in, and after a stage what halves the map.
    before = {}
    for stage, blocks in enumerate(depths):
        for block in range(blocks - 1):
            taken_in = f"stage_{stage}_block_{block + 1}_depthwise_conv"
            before[f"stage_{stage}_block_{block}"] = f"convnext_{member}_{taken_in}"
        if stage < len(depths) - 1:
            halved = f"convnext_{member}_downsampling_block_{stage}"
            before[f"stage_{stage}_block_{blocks - 1}"] = halved
    return Base(
        name=f"convnext_{member}",
        builder=f"keras.applications:{builder}",
        image_size=224,
        min_size=_MIN_SIZE,
        # the last block is normalised by a layer without a name of its own: that is the top
        taps=(*before, TOP),
        before=before,
        preprocessing=_INCLUDED,
        source="Liu et al. 2022, A ConvNet for the 2020s",
    )


_DEEPER = (3, 3, 27, 3)
CONVNEXTS = (
    _convnext("tiny", "ConvNeXtTiny", (3, 3, 9, 3)),
    _convnext("small", "ConvNeXtSmall", _DEEPER),
    _convnext("base", "ConvNeXtBase", _DEEPER),
    _convnext("large", "ConvNeXtLarge", _DEEPER),
    _convnext("xlarge", "ConvNeXtXLarge", _DEEPER),
)

_DENSENET = "Huang et al. 2016, Densely Connected Convolutional Networks"
_NASNET = "Zoph et al. 2017, Learning Transferable Architectures for Scalable Image Recognition"
_RESNET = "He et al. 2015, Deep Residual Learning for Image Recognition"
_RESNET_V2 = "He et al. 2016, Identity Mappings in Deep Residual Networks"
_MOBILENET_V3 = "Howard et al. 2019, Searching for MobileNetV3"

# Networks of Keras that go by its class names, and whose blocks are not listed.
CLASSES = tuple(
    Base(
        name=name,
        builder=f"keras.applications:{name}",
        image_size=size,
        min_size=_MIN_SIZE,
        taps=(TOP,),
        preprocessing=PREPROCESSING[preprocessing],
        source=source,
    )
    for name, size, preprocessing, source in (
        ("ResNet101", 224, "caffe", _RESNET),
        ("ResNet152", 224, "caffe", _RESNET),
        ("ResNet101V2", 224, "tf", _RESNET_V2),
        ("ResNet152V2", 224, "tf", _RESNET_V2),
        ("DenseNet121", 224, "torch", _DENSENET),
        ("DenseNet169", 224, "torch", _DENSENET),
        ("DenseNet201", 224, "torch", _DENSENET),
        ("MobileNetV3Small", 224, "none", _MOBILENET_V3),
        ("MobileNetV3Large", 224, "none", _MOBILENET_V3),
        ("NASNetMobile", 224, "tf", _NASNET),
        ("NASNetLarge", 331, "tf", _NASNET),
    )
)
