"""Registry of bases. To add a base, add an entry."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path

from bottleneck.bases.backbone import SUFFIX, find_backbone
from bottleneck.bases.base import PREPROCESSING, Base
from bottleneck.bases.families import CLASSES, CONVNEXTS, EFFICIENTNETS, EFFICIENTNETS_V2
from bottleneck.errors import BottleneckError

_VGG16 = Base(
    name="vgg16",
    builder="keras.applications:VGG16",
    image_size=224,
    min_size=32,
    taps=tuple(f"block{i}_pool" for i in range(1, 6)),
    preprocessing=PREPROCESSING["caffe"],
    source="Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Image Recognition",
)

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
    preprocessing=PREPROCESSING["tf"],
    source="Howard et al. 2017, MobileNets",
)

BASES: Mapping[str, Base] = {
    base.name: base
    for base in [
        Base(
            name="inception_v3",
            builder="keras.applications:InceptionV3",
            image_size=299,
            min_size=75,
            taps=tuple(f"mixed{i}" for i in range(11)),
            preprocessing=PREPROCESSING["tf"],
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
            preprocessing=PREPROCESSING["tf"],
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
                # block8_10 ends without an activation layer
                *(f"block8_{i}_ac" for i in range(1, 10)),
                "conv_7b_ac",
            ),
            preprocessing=PREPROCESSING["tf"],
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
            # the sums at the ends of blocks have no stable names in Keras
            before={
                **{f"block{i}_out": f"block{i + 1}_sepconv1_act" for i in range(2, 13)},
                "block13_out": "block14_sepconv1",
            },
            preprocessing=PREPROCESSING["tf"],
            source="Chollet 2016, Xception: Deep Learning with Depthwise Separable Convolutions",
        ),
        _VGG16,
        dataclasses.replace(_VGG16, name="vgg19", builder="keras.applications:VGG19"),
        Base(
            name="resnet50",
            builder="keras.applications:ResNet50",
            image_size=224,
            min_size=32,
            taps=_RESNET_BLOCKS,
            preprocessing=PREPROCESSING["caffe"],
            source="He et al. 2015, Deep Residual Learning for Image Recognition",
        ),
        Base(
            name="resnet50v2",
            builder="keras.applications:ResNet50V2",
            image_size=224,
            min_size=32,
            taps=(*_RESNET_BLOCKS, "post_relu"),
            preprocessing=PREPROCESSING["tf"],
            source="He et al. 2016, Identity Mappings in Deep Residual Networks",
        ),
        _MOBILENET,
        *(
            # alpha: share of the channels of each layer
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
                    # a block that keeps the size of its input ends in a residual sum
                    f"block_{i}_{'project_BN' if i in {1, 3, 6, 10, 13, 16} else 'add'}"
                    for i in range(1, 17)
                ),
                "out_relu",
            ),
            preprocessing=PREPROCESSING["tf"],
            source="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        ),
        *EFFICIENTNETS,
        *EFFICIENTNETS_V2,
        *CONVNEXTS,
    ]
}

# Bases by the class names of keras.applications: those without an entry above, and those above.
APPLICATIONS: Mapping[str, Base] = {
    base.builder.removeprefix("keras.applications:"): base
    for base in (*CLASSES, *BASES.values())
    if base.builder.startswith("keras.applications:") and not base.options
}


def find_base(name: str, preprocessing: str | None = None) -> Base:
    """Look up a base by name.

    Parameters
    ----------
    name : str
        A name in `BASES`, a class name in ``keras.applications``, or a ``.keras`` file.
    preprocessing : {"tf", "caffe", "torch", "none"}, optional
        Preprocessing that the network of a ``.keras`` file expects; for files only.

    Raises
    ------
    BottleneckError
        The base is unknown (the message names similar ones), or `preprocessing` is missing for a file or given
        for a known base.

    Examples
    --------
    >>> find_base("inception_v3").taps[-1]
    'mixed10'
    >>> find_base("DenseNet121").image_size
    224
    >>> find_base("resnet")
    Traceback (most recent call last):
    bottleneck.errors.BottleneckError: unknown base 'resnet'; did you mean resnet50 ...
    """
    if name.endswith(SUFFIX):
        return find_backbone(Path(name), preprocessing)
    base = BASES.get(name) or APPLICATIONS.get(name)
    if base is None:
        names = {
            known.lower(): base.name for known, base in (*APPLICATIONS.items(), *BASES.items())
        }
        # 0.4 accepts distant matches: the list is short and a wrong guess does no harm
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4)
        guess = " or ".join(dict.fromkeys(names[known] for known in near))
        raise BottleneckError(
            f"unknown base {name!r}{f'; did you mean {guess}?' if guess else '.'} --base takes a name listed by: "
            f"bottleneck bases list; or a {SUFFIX} file"
        )
    if preprocessing is not None:
        raise BottleneckError(
            f"{base.name} has its own preprocessing; leave --preprocessing out, it is for a {SUFFIX} file as --base"
        )
    return base
