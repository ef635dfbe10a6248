"""Decode the bytes of an image file into a square of uint8 RGB pixels."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from bottleneck.images.libtiff import collect_messages
from bottleneck.images.reasons import describe
from bottleneck.images.unsupported import describe_unsupported

Fit = Literal["squash", "crop"]
FITS: tuple[Fit, ...] = get_args(Fit)

# What determines the pixels besides size and fit. It is part of every recipe. Change how an image is decoded or
# resized, and this must change too, or cached features would be used for other pixels.
DECODER = "pillow-bilinear-antialias-1"

# Only formats people keep photographs in. Others that Pillow knows run external programs (EPS) or are hardly
# tested, and an image is untrusted input.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA")

# Twice Image.MAX_IMAGE_PIXELS, where Pillow itself stops by default: half a gigabyte of RGB.
MAX_PIXELS = 178_956_970

# Pillow registers its formats on first use, which is not safe in several threads at once.
Image.init()

_RGB_WHITE = (255, 255, 255, 255)


class UnreadableImageError(Exception):
    """One image cannot be used; the message is the reason in the listing."""


def decode(
    data: bytes, size: int, fit: Fit = "squash", max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode one image and resize it to a square.

    EXIF orientation is applied, transparency is laid over white, CMYK, palette, grayscale and
    16-bit images become 8-bit RGB, and an animation gives its first frame. Large JPEGs are
    decoded at the smallest of the format's own scales (1/2, 1/4, 1/8) that is not below `size`.

    Parameters
    ----------
    data : bytes
        The content of the file. The format is found from it, never from a name.
    size : int
        Side of the square, in pixels.
    fit : {"squash", "crop"}
        ``squash`` scales both sides to `size` and keeps the whole image; ``crop`` keeps the
        proportions and the centre.
    max_pixels : int
        Images with more pixels than this are refused before anything is decoded.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        RGB, resized with Pillow's antialiased bilinear filter.

    Raises
    ------
    UnreadableImageError
        The image cannot be used; the message says why.

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
    said: list[str] = []
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_bombs(image, max_pixels)
            image.draft(None, (size, size))
            if image.format == "TIFF":
                said = collect_messages()
            image.load()
            _correct_transparency(image, data)
            layout = _read_tiff_layout(image)
            square = _resize(_to_rgb(_upright(image), layout), size, fit)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(describe_unsupported(data, FORMATS)) from None
    except Image.DecompressionBombError as error:
        # raised outside `pixel_limit` only
        raise UnreadableImageError(f"too many pixels: {describe(error)}") from error
    except Exception as error:
        # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, EOFError … on
        # damaged files. Whatever it is, this one image cannot be used and the others can.
        raise UnreadableImageError(_damaged(error, said)) from error
    return np.asarray(square)


@contextlib.contextmanager
def pixel_limit() -> Iterator[None]:
    """Let `decode` alone decide how many pixels are too many.

    Pillow's own limit is global to the process: below `max_pixels` it would refuse images the
    user allowed, or warn about them. It is disabled while any thread is inside this context, and
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
    """Pillow's limit while it is disabled."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    before: int | None = None


_limit = _PillowLimit()


def _refuse_bombs(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise UnreadableImageError(
            f"too many pixels: {image.width} × {image.height} = {pixels:,}, and the limit is "
            f"{max_pixels:,}; to read it: --max-pixels {pixels} --retry-failed"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112, 1)  # the Orientation tag of TIFF 6.0
    except Exception:
        return image  # an unreadable EXIF block says nothing about the image itself
    return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image


@dataclass(frozen=True)
class _TiffLayout:
    """How the numbers of a TIFF are meant, where Pillow gives them as they are stored."""

    zero_is_white: bool = False
    unsigned: bool = False


def _read_tiff_layout(image: Image.Image) -> _TiffLayout:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return _TiffLayout()
    tags = image.tag_v2
    return _TiffLayout(
        # PhotometricInterpretation and SampleFormat of TIFF 6.0; Pillow inverts up to 8 bit itself
        zero_is_white=tags.get(262) == 0,
        unsigned=tags.get(339, (1,)) in (1, (1,)),
    )


def _correct_transparency(image: Image.Image, data: bytes) -> None:
    """Give the transparent colour of a PNG the scale that Pillow gives the pixels."""
    colour = image.info.get("transparency")
    if image.format != "PNG" or colour is None:
        return
    depth = data[24]  # of the header, after its length, name, width and height
    if image.mode == "L" and isinstance(colour, int) and depth in (2, 4):
        image.info["transparency"] = colour * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16:
        # Pillow keeps the high byte of each number, and two colours may share it
        del image.info["transparency"]
        low = _read_low_bytes(data)
        high = np.asarray(image)
        opaque = np.any((high.astype(np.uint16) << 8 | low) != np.array(colour, np.uint16), axis=-1)
        image.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))


def _read_low_bytes(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        # read as little-endian numbers, the high byte is the second
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.asarray(image)


def _to_rgb(image: Image.Image, layout: _TiffLayout) -> Image.Image:
    if image.mode.startswith("I"):
        image = _sixteen_to_eight(image, layout)
    elif image.mode == "F":
        raise UnreadableImageError(
            "floating-point pixels, which have no defined white; save as 8 or 16 bit"
        )
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, _RGB_WHITE)
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _sixteen_to_eight(image: Image.Image, layout: _TiffLayout) -> Image.Image:
    # convert("L") would clip at 255 and turn most 16-bit images white
    values = np.asarray(image, dtype=np.int64)
    if layout.unsigned and image.mode == "I":
        values = values & 0xFFFFFFFF
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise UnreadableImageError(
            f"32-bit pixels from {values.min()} to {values.max()}, expected 0 to 65535; save as 8 or 16 bit"
        )
    if layout.zero_is_white:
        values = 65535 - values
    gray = ((values + 128) // 257).astype(np.uint8)
    # a PNG may name one 16-bit gray that is transparent; in 8 bit it would be one of 256 others
    gray[values == image.info.get("transparency")] = 255
    return Image.fromarray(gray)


def _resize(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    filter_ = Image.Resampling.BILINEAR  # Pillow widens it when shrinking: that is the antialiasing
    if fit == "crop":
        return ImageOps.fit(image, (size, size), method=filter_)
    return image.resize((size, size), filter_)


def _damaged(error: Exception, said: list[str]) -> str:
    text = describe(error)
    if said:
        text += f"; libtiff: {describe(said[0])}"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated: the file ends before the image does ({text})"
    return f"damaged image ({text})"


# An image that breaks its format's rules but can be read is read. Pillow's warnings about it would only break the
# progress bar.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
