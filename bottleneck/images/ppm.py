"""Pixels as an image file."""

import numpy as np
from numpy.typing import NDArray

# Magic number by the shape of a pixel.
_KINDS = {(): "P5", (1,): "P5", (3,): "P6"}


def is_pixels(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> bool:
    """Whether an array can be written as an image: uint8, height × width, grey or RGB."""
    return dtype == np.uint8 and len(shape) >= 2 and shape[2:] in _KINDS and 0 not in shape


def as_ppm(pixels: NDArray[np.uint8]) -> bytes:
    r"""Write pixels in the simplest format, so that the same pixels always give the same bytes.

    An image in an array has the same digest as one in a file of this format.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3), (height, width, 1) or (height, width)
        RGB or grey.

    Examples
    --------
    >>> as_ppm(np.zeros((1, 2, 3), np.uint8))
    b'P6 2 1 255\n\x00\x00\x00\x00\x00\x00'
    """
    height, width = pixels.shape[:2]
    return f"{_KINDS[pixels.shape[2:]]} {width} {height} 255\n".encode() + pixels.tobytes()
