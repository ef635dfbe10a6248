"""Inception-v4, which Keras does not include.

Szegedy, Ioffe, Vanhoucke and Alemi 2016, Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning, figures 3 to 9.
"""

from typing import Any

from bottleneck.bases.backend import load_keras

# as in the reference implementation, and Keras's default
_BATCH_NORM_EPSILON = 1e-3

# Filters and kernel (height, width) of the convolutions of each branch, in order. They keep the size of the
# map unless a block reduces it.
Convolution = tuple[int, tuple[int, int]]
Branch = tuple[Convolution, ...]

INCEPTION_A: tuple[Branch, ...] = (
    ((96, (1, 1)),),
    ((64, (1, 1)), (96, (3, 3))),
    ((64, (1, 1)), (96, (3, 3)), (96, (3, 3))),
)
INCEPTION_B: tuple[Branch, ...] = (
    ((384, (1, 1)),),
    ((192, (1, 1)), (224, (1, 7)), (256, (7, 1))),
    ((192, (1, 1)), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
)
REDUCTION_A: tuple[Branch, ...] = (
    ((384, (3, 3)),),
    ((192, (1, 1)), (224, (3, 3)), (256, (3, 3))),
)
REDUCTION_B: tuple[Branch, ...] = (
    ((192, (1, 1)), (192, (3, 3))),
    ((256, (1, 1)), (256, (1, 7)), (320, (7, 1)), (320, (3, 3))),
)


def InceptionV4(  # noqa: N802 - named like the classes of keras.applications
    weights: None = None,  # noqa: ARG001 - for the signature of keras.applications
    include_top: bool = True,
    input_shape: tuple[int, int, int] = (299, 299, 3),
    classes: int = 1000,
) -> Any:
    """Build Inception-v4.

    Parameters
    ----------
    weights : None
        Initial values are random; weights are read from a file.
    include_top : bool
        With average pooling and the classifier, or the last map only.
    input_shape : tuple of int
        Height, width and 3, each side 75 pixels or more.
    classes : int
        Number of outputs of the classifier.

    Returns
    -------
    keras.Model
        Its input is preprocessed to the range -1 to 1.
    """
    keras = load_keras()
    layers = keras.layers
    pixels = keras.Input(input_shape)
    x = _stem(pixels)
    for number in range(1, 5):
        x = _inception(x, INCEPTION_A, 96, f"inception_a_{number}")
    x = _reduction(x, REDUCTION_A, "reduction_a")
    for number in range(1, 8):
        x = _inception(x, INCEPTION_B, 128, f"inception_b_{number}")
    x = _reduction(x, REDUCTION_B, "reduction_b")
    for number in range(1, 4):
        x = _inception_c(x, f"inception_c_{number}")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(pixels, x, name="inception_v4")


def _conv(
    x: Any,
    filters: int,
    kernel: tuple[int, int],
    name: str,
    *,
    strides: int = 1,
    padding: str = "same",
) -> Any:
    layers = load_keras().layers
    x = layers.Conv2D(
        filters, kernel, strides=strides, padding=padding, use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=name)(x)


def _chain(x: Any, branch: Branch, name: str, *, shrink: bool = False) -> Any:
    """Chain convolutions; with `shrink`, the last one has stride 2 and no padding."""
    for number, (filters, kernel) in enumerate(branch):
        # as in the public weights: a branch of one convolution has no numbers
        own = name if len(branch) == 1 else f"{name}_{number}"
        last = shrink and number == len(branch) - 1
        x = _conv(
            x, filters, kernel, own, strides=2 if last else 1, padding="valid" if last else "same"
        )
    return x


def _max_pool(x: Any, name: str) -> Any:
    return load_keras().layers.MaxPooling2D(3, strides=2, name=name)(x)


def _joined(branches: list[Any], name: str) -> Any:
    return load_keras().layers.Concatenate(name=name)(branches)


def _stem(x: Any) -> Any:
    x = _conv(x, 32, (3, 3), "stem_0", strides=2, padding="valid")
    x = _conv(x, 32, (3, 3), "stem_1", padding="valid")
    x = _conv(x, 64, (3, 3), "stem_2")
    narrowed = _conv(x, 96, (3, 3), "stem_3_conv", strides=2, padding="valid")
    x = _joined([_max_pool(x, "stem_3_pool"), narrowed], "stem_3")
    left = _conv(x, 64, (1, 1), "stem_4_branch0_0")
    left = _conv(left, 96, (3, 3), "stem_4_branch0_1", padding="valid")
    right = _chain(x, ((64, (1, 1)), (64, (1, 7)), (64, (7, 1))), "stem_4_branch1")
    right = _conv(right, 96, (3, 3), "stem_4_branch1_3", padding="valid")
    x = _joined([left, right], "stem_4")
    narrowed = _conv(x, 192, (3, 3), "stem_5_conv", strides=2, padding="valid")
    return _joined([narrowed, _max_pool(x, "stem_5_pool")], "stem_5")


def _pooled(x: Any, filters: int, name: str) -> Any:
    # "same" average pooling in Keras excludes padding from the mean, as in the paper
    layers = load_keras().layers
    x = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    return _conv(x, filters, (1, 1), f"{name}_1")


def _inception(x: Any, branches: tuple[Branch, ...], pooled: int, name: str) -> Any:
    parts = [_chain(x, branch, f"{name}_branch{n}") for n, branch in enumerate(branches)]
    return _joined([*parts, _pooled(x, pooled, f"{name}_branch{len(branches)}")], name)


def _reduction(x: Any, branches: tuple[Branch, ...], name: str) -> Any:
    parts = [
        _chain(x, branch, f"{name}_branch{n}", shrink=True) for n, branch in enumerate(branches)
    ]
    return _joined([*parts, _max_pool(x, f"{name}_branch{len(branches)}_pool")], name)


def _inception_c(x: Any, name: str) -> Any:
    straight = _conv(x, 256, (1, 1), f"{name}_branch0")
    fork = _conv(x, 384, (1, 1), f"{name}_branch1_0")
    longer = _chain(x, ((384, (1, 1)), (448, (3, 1)), (512, (1, 3))), f"{name}_branch2")
    parts = [straight]
    for stem, branch in ((fork, "branch1_1"), (longer, "branch2_3")):
        parts.append(_conv(stem, 256, (1, 3), f"{name}_{branch}a"))
        parts.append(_conv(stem, 256, (3, 1), f"{name}_{branch}b"))
    return _joined([*parts, _pooled(x, 256, f"{name}_branch3")], name)
