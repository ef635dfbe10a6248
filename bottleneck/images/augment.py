"""Views of a picture: what augmentation makes of it, the same on every machine."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bottleneck.errors import BottleneckError

# Least and greatest value of each transformation: half a turn either way is every direction, and a
# picture moved or shrunk by more than half its side is mostly border.
_LIMITS = {"rotate": 180.0, "shift": 0.5, "zoom": 0.5, "brightness": 1.0}

# Coefficients are rounded to this fraction. With 16 binary digits after the point every product and
# sum of Pillow's bilinear interpolation is exact in double precision, so neither the processor nor the
# last bit of its sine changes a pixel.
_FRACTION = 1 << 16


@dataclass(frozen=True)
class Augmentation:
    """How views other than the plain one are made; each value is the most it can be, either way.

    Attributes
    ----------
    flip : bool
        Left and right may be exchanged.
    rotate : float
        Degrees.
    shift : float
        Share of the side, across and down.
    zoom : float
        Share by which things become larger or smaller.
    brightness : float
        Share by which pixels become lighter or darker.

    Raises
    ------
    BottleneckError
        A value is out of range.

    Examples
    --------
    >>> str(Augmentation(rotate=15, flip=True))
    'flip,rotate=15'
    """

    flip: bool = False
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise BottleneckError(
                    f"{name} in --augment takes a number from 0 to {limit:g}, not {value:g}"
                )

    def __str__(self) -> str:
        flip = ["flip"] if self.flip else []
        others = [f"{name}={getattr(self, name):g}" for name in _LIMITS if getattr(self, name)]
        return ",".join(flip + others) or "none"


def parse_augmentation(text: str) -> Augmentation:
    """Read what ``--augment`` takes, and what a recipe says.

    Parameters
    ----------
    text : str
        Such as ``flip,rotate=15,shift=0.1,zoom=0.2,brightness=0.1``, in any order; or ``none``.

    Raises
    ------
    BottleneckError
        It names something else, or a value is no number or out of range.

    Examples
    --------
    >>> parse_augmentation("zoom=0.2,flip")
    Augmentation(flip=True, rotate=0.0, shift=0.0, zoom=0.2, brightness=0.0)
    """
    if text == "none":
        return Augmentation()
    fields: dict[str, float] = {}
    flip = False
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name == "flip" and not equals:
            flip = True
        elif name in _LIMITS and _is_number(value):
            # as it is written in the recipe, so that reading that gives the same views
            fields[name] = float(f"{float(value):g}")
        else:
            raise BottleneckError(
                f"--augment takes flip, {', '.join(f'{known}=NUMBER' for known in _LIMITS)}, with commas between, "
                f"not {part.strip()!r}"
            )
    return Augmentation(flip=flip, **fields)


def make_view(
    pixels: NDArray[np.uint8], augmentation: Augmentation, digest: str, view: int
) -> NDArray[np.uint8]:
    """Make a view of a picture.

    What happens to it follows from its digest and the number of the view alone: not from the order
    pictures come in, the process or the machine.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (size, size, 3)
        The plain picture, which is view 0.
    augmentation : Augmentation
    digest : str
        Of the picture's bytes, see `bottleneck.extraction.scan.digest_of`.
    view : int

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        What a rotation, shift or zoom brings in from beyond the border is the mirrored picture.

    Examples
    --------
    >>> ramp = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    >>> flipped = make_view(ramp, Augmentation(flip=True), "1f", view=4)
    >>> bool((flipped == ramp[:, ::-1]).all())
    True
    >>> bool((make_view(ramp, Augmentation(flip=True, rotate=9), "1f", view=0) == ramp).all())
    True
    """
    if view == 0:
        return pixels

    def drawn(name: str) -> float:
        """A number from -1 to below 1, by a hash: no generator whose next version may draw others."""
        hashed = hashlib.sha256(f"{digest} {view} {name}".encode()).digest()
        return int.from_bytes(hashed[:4], "big") / 2**31 - 1

    if augmentation.flip and drawn("flip") < 0:
        pixels = pixels[:, ::-1]
    limits = dataclasses.asdict(augmentation)
    if any(limits[name] for name in ("rotate", "shift", "zoom")):
        size = len(pixels)
        pixels = _moved(
            pixels,
            angle=math.radians(limits["rotate"] * drawn("rotate")),
            scale=1 + limits["zoom"] * drawn("zoom"),
            across=size * limits["shift"] * drawn("across"),
            down=size * limits["shift"] * drawn("down"),
        )
    if augmentation.brightness:
        factor = round(_FRACTION * (1 + augmentation.brightness * drawn("brightness")))
        lighter = (np.arange(256) * factor + _FRACTION // 2) // _FRACTION
        pixels = np.minimum(lighter, 255).astype(np.uint8)[pixels]
    return np.ascontiguousarray(pixels)


def _moved(
    pixels: NDArray[np.uint8], angle: float, scale: float, across: float, down: float
) -> NDArray[np.uint8]:
    """Rotate, scale and shift about the centre."""
    size = len(pixels)
    centre = size / 2
    # Pillow asks where each pixel of the result comes from: that is the inverse of what is done
    cos, sin = _rounded(math.cos(angle) / scale), _rounded(math.sin(angle) / scale)
    corners = [
        (cos * x + sin * y + centre - across, cos * y - sin * x + centre - down)
        for x in (-centre, centre)
        for y in (-centre, centre)
    ]
    beyond = max(max(-place, place - size) for corner in corners for place in corner)
    border = max(math.ceil(beyond) + 1, 0)
    wide = np.pad(pixels, ((border, border), (border, border), (0, 0)), "symmetric")
    x0 = _rounded(centre + border - across - (cos + sin) * centre)
    y0 = _rounded(centre + border - down - (cos - sin) * centre)
    moved = Image.fromarray(wide).transform(
        (size, size),
        Image.Transform.AFFINE,
        (cos, sin, x0, -sin, cos, y0),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved)


def _rounded(number: float) -> float:
    return round(number * _FRACTION) / _FRACTION


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
