"""The bases there are, as data: to add one is to add an entry here."""

import difflib
from dataclasses import dataclass

from bottleneck.errors import BottleneckError


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
        Layers whose output can be kept, from the lowest to the highest. The highest is the default.
    scale, offset : float
        Preprocessing: the network expects ``pixels * scale + offset`` for pixels of 0 to 255.
    source : str
        The paper that describes it.
    hub : str or None
        The repository of its ImageNet weights on the Hugging Face hub, where Keras has none.
    """

    name: str
    builder: str
    image_size: int
    min_size: int
    taps: tuple[str, ...]
    scale: float
    offset: float
    source: str
    hub: str | None = None


BASES = {
    base.name: base
    for base in [
        Base(
            name="inception_v3",
            builder="keras.applications:InceptionV3",
            image_size=299,
            min_size=75,
            taps=tuple(f"mixed{i}" for i in range(11)),
            scale=1 / 127.5,  # to the range -1 … 1
            offset=-1.0,
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
            scale=1 / 127.5,
            offset=-1.0,
            source="Szegedy et al. 2016, Inception-v4, Inception-ResNet and the Impact of …",
            hub="timm/inception_v4.tf_in1k",
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
    >>> find_base("inceptionv3")
    Traceback (most recent call last):
    bottleneck.errors.BottleneckError: unknown base 'inceptionv3'; did you mean inception_v3? ...
    """
    if name in BASES:
        return BASES[name]
    # 0.4: generous, for the list is short and a guess costs nothing
    near = difflib.get_close_matches(name.lower(), BASES, n=3, cutoff=0.4)
    guess = f"; did you mean {' or '.join(near)}?" if near else "."
    raise BottleneckError(f"unknown base {name!r}{guess} Give one with --base: {', '.join(BASES)}")


def find_tap(base: Base, tap: str | None) -> str:
    """Return the tap asked for, or the highest, checked against the base."""
    if tap is None:
        return base.taps[-1]
    if tap not in base.taps:
        raise BottleneckError(
            f"{base.name} has no tap {tap!r}; give one with --tap: {', '.join(base.taps)}"
        )
    return tap


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
