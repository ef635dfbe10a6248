"""Say what a file is that is not an image in a supported format."""

import io
from collections.abc import Sequence

from PIL import TiffImagePlugin

# What people find under the name of an image, by its first bytes (in lower case). Nothing else of a file is quoted:
# a path in a table may lead to any file.
_KNOWN = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, so the image itself was not downloaded (git lfs pull)",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"%pdf": "a PDF file",
    b"%!ps": "a PostScript file",
    b"8bps": "a Photoshop file",
    b"\x1f\x8b": "a gzip file",
    b"pk\x03\x04": "a zip file",
    b"\x89hdf\r\n": "an HDF5 file",
}

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _SAMPLE_FORMAT, _FLOAT = 258, 339, 3  # tags of TIFF 6.0, and the number of floating point


def describe_unsupported(data: bytes, formats: Sequence[str]) -> str:
    """Say why Pillow found no image in these bytes.

    Examples
    --------
    >>> describe_unsupported(b"%PDF-1.7", ("JPEG", "PNG"))
    'not an image in a supported format (JPEG, PNG); it is a PDF file'
    """
    if data.startswith(_TIFF):
        kind = _describe_tiff(data)
        return f"a TIFF image with {kind}, which is not supported; save as 8 or 16 bit, grey or RGB"
    start = data[:32].lstrip().lower()
    known = next((what for magic, what in _KNOWN.items() if start.startswith(magic)), None)
    return f"not an image in a supported format ({', '.join(formats)})" + (
        f"; it is {known}" if known else ""
    )


def _describe_tiff(data: bytes) -> str:
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        with io.BytesIO(data) as file:
            file.seek(tags.next)
            tags.load(file)
        bits, kinds = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        kind = "floating-point " if _FLOAT in kinds else ""
        return f"{len(bits)} × {int(bits[0])}-bit {kind}pixels"
    except Exception:  # a damaged directory raises nearly anything
        return "an unreadable directory"
