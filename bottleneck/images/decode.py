"""From the bytes of a file to a square of uint8 RGB pixels."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bottleneck.errors import one_line

Fit = Literal["squash", "crop"]
FITS: tuple[Fit, ...] = get_args(Fit)

# What determines the pixels besides size and fit. It is part of every recipe: change how a picture
# is decoded or resized, and this must change too, or old features would be taken for new ones.
DECODER = "pillow-bilinear-antialias-1"

# Only formats people keep photographs in. Others that Pillow knows run outside programs (EPS) or
# are rarely read by anybody, and a picture is hostile input.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA")

# Twice Image.MAX_IMAGE_PIXELS, where Pillow itself stops by default: half a gigabyte of RGB.
MAX_PIXELS = 178_956_970

# Pillow registers its formats on first use, which several threads at once would stumble over.
Image.init()

_RGB_WHITE = (255, 255, 255, 255)


class UnreadableImageError(Exception):
    """One picture cannot be used; the message is the reason as the listing shows it."""


def decode(
    data: bytes, size: int, fit: Fit = "squash", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode one picture and bring it to a square.

    EXIF orientation is applied, transparency is laid over white, CMYK, palette, grayscale and
    16-bit pictures become 8-bit RGB, and an animation gives its first frame. Large JPEGs are
    decoded at the smallest of the format's own scales (1/2, 1/4, 1/8) that is not below `size`.

    Parameters
    ----------
    data : bytes
        The contents of the file. The format is told from them, never from a name.
    size : int
        Side of the square, in pixels.
    fit : {"squash", "crop"}
        ``squash`` scales both sides to `size` and keeps the whole picture; ``crop`` keeps the
        proportions and the centre.
    max_pixels : int
        Pictures with more pixels than this are refused before anything is decoded.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        RGB, resized with Pillow's antialiased bilinear filter.

    Raises
    ------
    UnreadableImageError
        The picture cannot be used; the message says why.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(file, "JPEG")
    >>> pixels = decode(file.getvalue(), size=8)
    >>> pixels.shape, bool(pixels[..., 0].mean() > 200 > pixels[..., 1].mean())
    ((8, 8, 3), True)
    """
    if not data:
        raise UnreadableImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_bombs(image, max_pixels)
            image.draft(None, (size, size))
            image.load()
            square = _resize(_to_rgb(_upright(image)), size, fit)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_not_an_image(data)) from None
    except Image.DecompressionBombError as error:
        # met outside `pixel_limit` only
        raise UnreadableImageError(f"too many pixels: {error}") from error
    except Exception as error:
        # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, EOFError … on
        # damaged files; whatever it is, this one picture cannot be used and the others can.
        raise UnreadableImageError(_damaged(error)) from error
    return np.asarray(square)


@contextlib.contextmanager
def pixel_limit() -> Iterator[None]:
    """Let `decode` alone decide how many pixels are too many.

    Pillow's own limit is a global of the process: below `max_pixels` it would refuse pictures the
    user allowed, or warn about them. It is set aside while any thread is inside this context, and
    restored when the last one leaves it.
    """
    with _limit.lock:
        if not _limit.inside:
            _limit.before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _limit.inside += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.inside -= 1
            if not _limit.inside:
                Image.MAX_IMAGE_PIXELS = _limit.before


@dataclass
class _PillowLimit:
    """What is remembered of Pillow's limit while it is set aside."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: int | None = None


_limit = _PillowLimit()


def _refuse_bombs(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise UnreadableImageError(
            f"too many pixels: {image.width} × {image.height} = {pixels:,}, and the limit is "
            f"{max_pixels:,}; to take it all the same: --max-pixels {pixels} --retry-failed"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112, 1)  # the Orientation tag of TIFF 6.0
    except Exception:
        return image  # an unreadable EXIF block says nothing about the picture itself
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _sixteen_to_eight(image)
    elif image.mode == "F":
        raise UnreadableImageError(
            "floating-point pixels, which have no defined white; save as 8 or 16 bit"
        )
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, _RGB_WHITE)
        return Image.alpha_composite(white, picture).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _sixteen_to_eight(image: Image.Image) -> Image.Image:
    # convert("L") would clip at 255 and turn most 16-bit pictures white
    values = np.asarray(image, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise UnreadableImageError(
            f"32-bit pixels from {values.min()} to {values.max()}, expected 0 to 65535; save as 8 or 16 bit"
        )
    gray = ((values + 128) // 257).astype(np.uint8)
    # a PNG may name one 16-bit gray that is transparent; by now it would be one of 256 others
    gray[values == image.info.get("transparency")] = 255
    return Image.fromarray(gray)


def _resize(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    filter_ = Image.Resampling.BILINEAR  # Pillow widens it when shrinking: that is the antialiasing
    if fit == "crop":
        return ImageOps.fit(image, (size, size), method=filter_)
    return image.resize((size, size), filter_)


def _not_an_image(data: bytes) -> str:
    start = data[:16].decode("ascii", "replace").strip()
    shown = f"; it begins with {start!r}" if start.isascii() and start.isprintable() else ""
    return f"not a picture in any format we read ({', '.join(FORMATS)}){shown}"


def _damaged(error: Exception) -> str:
    text = one_line(error)
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: the file ends before the picture does ({text})"
    return f"damaged picture ({text})"


# A picture that strays from its format's rules but can be read is read, and Pillow's remarks on it
# would only break the progress bar.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
