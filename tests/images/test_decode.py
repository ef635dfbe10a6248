"""Pictures of every kind become upright 8-bit RGB squares, or are refused with a reason."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bottleneck.images.decode import FITS, MAX_PIXELS, UnreadableImageError, decode, pixel_limit
from bottleneck.images.files import read_bytes

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)
COLOURS = {"R": RED, "G": GREEN, "B": BLUE, "Y": (255, 255, 0)}

steady = settings(derandomize=True, deadline=None, database=None, max_examples=150)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, transparent: bytes = b""
) -> bytes:
    """Write a PNG of a kind that Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows))]
    chunks = [chunk for chunk in chunks if chunk[1]] + [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def plain(data: bytes, size: int) -> np.ndarray:
    """What two lines of Pillow make of a file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def flat(colour: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (20, 12), colour)


def assert_flat(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 0) -> None:
    np.testing.assert_allclose(pixels.astype(int) - colour, 0, atol=tolerance)


# --- the plain case


@pytest.mark.parametrize("size", [1, 75, 299, 700])
def test_a_simple_png_becomes_what_plain_pillow_makes_of_it(
    photographs: list[Image.Image], size: int
) -> None:
    data = encoded(photographs[0], "PNG", compress_level=1)
    pixels = decode(data, size)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size, size, 3)
    np.testing.assert_array_equal(pixels, plain(data, size))


@steady
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 60),
    fit=st.sampled_from(FITS),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_one_flat_colour_stays_that_colour_at_any_size(
    width: int, height: int, size: int, fit: str, colour: tuple[int, int, int]
) -> None:
    pixels = decode(encoded(Image.new("RGB", (width, height), colour), "PNG"), size, fit)
    assert pixels.shape == (size, size, 3)
    assert_flat(pixels, colour)


def test_shrinking_is_antialiased() -> None:
    board = np.indices((300, 300)).sum(axis=0) % 2 * 255
    pixels = decode(encoded(Image.fromarray(board.astype(np.uint8)), "PNG"), 75)
    # taking every fourth pixel instead would leave nothing but black or white
    assert_flat(pixels, GREY, tolerance=3)


def test_crop_keeps_the_centre_and_squash_keeps_everything() -> None:
    stripes = Image.new("RGB", (120, 60), GREEN)
    stripes.paste(RED, (0, 0, 30, 60))
    stripes.paste(BLUE, (90, 0, 120, 60))
    data = encoded(stripes, "PNG")
    assert_flat(decode(data, 60, "crop"), GREEN)
    squashed = decode(data, 60, "squash")
    assert [tuple(squashed[30, x]) for x in (0, 30, 59)] == [RED, GREEN, BLUE]


# --- large JPEGs


def test_a_large_jpeg_is_decoded_small_and_close_to_the_exact_result(
    photographs: list[Image.Image],
) -> None:
    large = photographs[0].resize((2400, 1800), Image.Resampling.BICUBIC)
    data = encoded(large, "JPEG", quality=92)
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (100, 100))
        assert image.size == (300, 225)  # an eighth: the least that is not below the size
        scaled = np.asarray(image.resize((100, 100), Image.Resampling.BILINEAR))
    pixels = decode(data, 100)
    np.testing.assert_array_equal(pixels, scaled)
    distance = np.abs(pixels.astype(int) - plain(data, 100))
    assert 0 < distance.mean() < 1
    assert distance.max() < 30


@pytest.mark.parametrize("fit", FITS)
def test_a_jpeg_is_never_decoded_smaller_than_the_size(
    photographs: list[Image.Image], fit: str
) -> None:
    # 640 × 427 into 300: half of the height would fall short of it, though half the width does not
    data = encoded(photographs[0], "JPEG", quality=95)
    exact = decode(encoded(Image.open(io.BytesIO(data)), "PNG", compress_level=1), 300, fit)
    np.testing.assert_array_equal(decode(data, 300, fit), exact)


# --- orientation


# where the corners of the stored picture (R G above B Y) are to be seen: TIFF 6.0, tag 274
CORNERS = ["RGBY", "GRYB", "YBGR", "BYRG", "RBGY", "BRYG", "YGBR", "GYRB"]


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", FITS)
def test_a_picture_is_turned_the_way_its_exif_orientation_says(
    orientation: int, form: str, fit: str
) -> None:
    stored = Image.new("RGB", (80, 64))
    for i, colour in enumerate(COLOURS.values()):
        stored.paste(colour, (i % 2 * 40, i // 2 * 32, i % 2 * 40 + 40, i // 2 * 32 + 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": "4:4:4"} if form in ("JPEG", "AVIF") else {}
    pixels = decode(encoded(stored, form, exif=exif, **options), 32, fit)
    seen = [pixels[y, x].astype(int) for y in (0, -1) for x in (0, -1)]
    expected = [COLOURS[letter] for letter in CORNERS[orientation - 1]]
    np.testing.assert_allclose(seen, expected, atol=0 if form in ("PNG", "TIFF") else 12)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_passed_over(
    photographs: list[Image.Image], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photographs[0], "JPEG")
    odd = encoded(photographs[0], "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(odd, 75), decode(data, 75))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"MM\0*\0\0\xff\xff broken", b"no TIFF header"])
def test_a_damaged_exif_block_does_not_cost_the_picture(form: str, exif: bytes) -> None:
    data = encoded(flat(RED), form, exif=b"Exif\0\0" + exif)
    assert_flat(decode(data, 8), RED, tolerance=3)


# --- transparency


def _palette(form: str) -> bytes:
    picture = Image.new("P", (20, 12), 1)
    picture.putpalette([0, 0, 0, *RED, *BLUE])
    picture.paste(0, (10, 0, 20, 12))
    return encoded(picture, form, transparency=0)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_picture_with_transparency_is_laid_over_white(form: str) -> None:
    pixels = decode(_palette(form), 20)
    assert_flat(pixels[:, :9], RED)
    assert_flat(pixels[:, 11:], (255, 255, 255))


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 0, 128), (227, 177, 127)),
        ("LA", (0, 255), (0, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 128), (127, 127, 127)),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_an_alpha_channel_is_laid_over_white(
    mode: str, colour: tuple[int, ...], expected: tuple[int, int, int], form: str
) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert_flat(decode(encoded(flat(colour, mode), form, **options), 8), expected, tolerance=1)


@pytest.mark.parametrize(("mode", "colour"), [("RGB", RED), ("L", 90), ("1", 0)])
def test_a_single_transparent_colour_of_a_png_becomes_white(
    mode: str, colour: tuple[int, ...] | int
) -> None:
    data = encoded(Image.new(mode, (9, 9), colour), "PNG", transparency=colour)
    assert_flat(decode(data, 8), (255, 255, 255))


def test_the_transparent_grey_of_a_16_bit_png_becomes_white() -> None:
    values = Image.fromarray(np.full((9, 9), 30_000, np.uint16))
    assert_flat(decode(encoded(values, "PNG", transparency=30_000), 8), (255, 255, 255))


@pytest.mark.parametrize(
    ("depth", "row", "transparent"),
    [(1, b"\x40", 1), (1, b"\x80", 0), (2, b"\x90", 1), (2, b"\xb0", 3), (4, b"\x62", 2)],
)
def test_the_transparent_grey_of_a_png_of_few_bits_becomes_white(
    depth: int, row: bytes, transparent: int
) -> None:
    data = png(2, 1, depth, 0, b"\0" + row, struct.pack(">H", transparent))
    with Image.open(io.BytesIO(data)) as image:
        other = np.asarray(image.convert("L"))[0, 0]
    pixels = decode(data, 2)
    assert_flat(pixels[:, 1], (255, 255, 255))
    assert_flat(pixels[:, 0], (other,) * 3)


def test_the_transparent_colour_of_a_16_bit_png_is_compared_in_16_bit() -> None:
    colours = b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9a\xbd"
    data = png(2, 1, 16, 2, b"\0" + colours[0] + colours[1], colours[0])
    pixels = decode(data, 2)
    assert_flat(pixels[:, 0], (255, 255, 255))
    assert_flat(pixels[:, 1], (0x12, 0x56, 0x9A))


# --- kinds of pixels


def tiff(
    pixels: np.ndarray, *, photometric: int = 1, sample_format: int = 1, orientation: int = 1
) -> bytes:
    """Write an uncompressed TIFF of a kind that Pillow does not write."""
    depth = pixels.dtype.itemsize * 8
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    body = pixels.tobytes()
    tags = [
        *((256, 3, 1, pixels.shape[1]), (257, 3, 1, pixels.shape[0]), (259, 3, 1, 1)),
        *((262, 3, 1, photometric), (273, 4, 1, 8), (274, 3, 1, orientation)),
        (277, 3, 1, channels),
        *((278, 3, 1, pixels.shape[0]), (279, 4, 1, len(body))),
    ]
    end = 8 + len(body)
    if channels == 1:
        tags += [(258, 3, 1, depth), (339, 3, 1, sample_format)]
    else:
        tags += [(258, 3, channels, end), (339, 3, channels, end + 2 * channels)]
        body += struct.pack(f"<{2 * channels}H", *[depth] * channels, *[sample_format] * channels)
    directory = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(body))
        + body
        + struct.pack("<H", len(tags))
        + directory
        + bytes(4)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_not_inverted(dtype: type) -> None:
    dark = np.full((8, 8), np.iinfo(dtype).max - 10 * np.iinfo(dtype).max // 255, dtype)
    assert_flat(decode(tiff(dark, photometric=0), 8), (10, 10, 10), tolerance=1)
    assert_flat(decode(tiff(dark, photometric=1), 8), (245, 245, 245), tolerance=1)


def test_a_turned_tiff_whose_zero_is_white_is_not_inverted() -> None:
    values = np.full((8, 8), 60_000, np.uint16)
    values[0] = 5535  # the first row of what is stored is the last column of what is shown
    pixels = decode(tiff(values, photometric=0, orientation=6), 8)
    assert_flat(pixels[:, :7], (22, 22, 22), tolerance=1)
    assert_flat(pixels[:, 7], (233, 233, 233), tolerance=1)


def test_a_32_bit_unsigned_tiff_has_no_negative_values() -> None:
    data = tiff(np.full((8, 8), 3_000_000_000, np.uint32))
    with pytest.raises(UnreadableImageError, match="32-bit pixels from 3000000000 to 3000000000"):
        decode(data, 8)
    assert_flat(decode(tiff(np.full((8, 8), 0x8000, np.uint32)), 8), GREY)


@pytest.mark.parametrize(
    ("dtype", "channels", "expected"),
    [
        (np.float32, (3,), "3 × 32-bit floating-point pixels"),
        (np.float16, (), "1 × 16-bit floating-point pixels"),
        (np.uint32, (3,), "3 × 32-bit pixels"),
    ],
)
def test_a_tiff_of_unsupported_pixels_is_refused_with_their_kind(
    dtype: type, channels: tuple[int, ...], expected: str
) -> None:
    kind = 3 if np.issubdtype(dtype, np.floating) else 1
    data = tiff(
        np.zeros((8, 8, *channels), dtype),
        photometric=2 if channels else 1,
        sample_format=kind,
    )
    with pytest.raises(UnreadableImageError, match=f"a TIFF image with {expected}.*8 or 16 bit"):
        decode(data, 8)


def test_a_dib_file_is_read() -> None:
    data = encoded(flat(RED), "BMP")
    assert_flat(decode(encoded(flat(RED), "DIB"), 8), RED)
    assert_flat(decode(data[14:], 8), RED)  # a BMP without the header of its file


def test_what_libtiff_says_is_in_the_reason_and_not_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(encoded(Image.effect_noise((64, 64), 90), "TIFF", compression="tiff_lzw"))
    data[20:900] = b"\xff" * 880
    with pytest.raises(UnreadableImageError, match=r"damaged image .*libtiff: "):
        decode(bytes(data), 8)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    [
        (encoded(flat((0, 255, 255, 0), "CMYK"), "JPEG", quality=95), RED, 3),
        (encoded(flat((0, 255, 255, 0), "CMYK"), "TIFF"), RED, 0),
        (encoded(flat(GREEN).convert("YCbCr"), "JPEG", quality=95), GREEN, 3),
        (encoded(Image.new("1", (20, 12), 1), "PNG"), (255, 255, 255), 0),
        (encoded(Image.new("1", (20, 12), 1), "PPM"), (255, 255, 255), 0),
        (encoded(flat(BLUE).convert("P"), "PNG"), BLUE, 0),
        (encoded(flat(BLUE).convert("P"), "BMP"), BLUE, 0),
        (encoded(Image.new("L", (20, 12), 128), "PNG"), GREY, 0),
        (encoded(Image.new("L", (20, 12), 128), "JPEG"), GREY, 1),
        (encoded(flat(RED), "TGA"), RED, 0),
        (encoded(flat(RED), "JPEG2000"), RED, 3),
        # 16 bit for each of red, green and blue; for grey and alpha
        (png(2, 2, 16, 2, b"\0" + b"\x80\x80" * 6 + b"\0" + b"\x80\x80" * 6), GREY, 0),
        (png(2, 1, 16, 4, b"\0" + b"\x80\x80\xff\xff" * 2), GREY, 0),
    ],
)
def test_every_kind_of_pixel_becomes_8_bit_rgb(
    data: bytes, expected: tuple[int, int, int], tolerance: int
) -> None:
    assert_flat(decode(data, 8), expected, tolerance)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (300, 1), (0x8000, 128), (0x8080, 128), (65535, 255)]
)
def test_16_bit_grey_keeps_its_brightness(form: str, value: int, expected: int) -> None:
    picture = Image.fromarray(np.full((12, 20), value, np.uint16))
    assert_flat(decode(encoded(picture, form), 8), (expected,) * 3)


def test_a_big_endian_16_bit_tiff_keeps_its_brightness() -> None:
    assert_flat(decode(encoded(Image.new("I;16B", (9, 9), 0x8000), "TIFF"), 8), GREY)


@pytest.mark.parametrize(
    ("value", "expected"), [(np.int32(0x8000), 128), (np.int32(70_000), None), (np.int32(-1), None)]
)
def test_a_32_bit_tiff_is_read_as_16_bit_and_refused_beyond_that(
    value: np.int32, expected: int | None
) -> None:
    data = encoded(Image.fromarray(np.full((9, 9), value)), "TIFF")
    if expected is not None:
        assert_flat(decode(data, 8), (expected,) * 3)
        return
    with pytest.raises(UnreadableImageError, match=rf"32-bit pixels .*{value}.*save as 8 or 16"):
        decode(data, 8)


def test_a_floating_point_tiff_is_refused_with_the_reason() -> None:
    data = encoded(Image.fromarray(np.full((9, 9), 0.5, np.float32)), "TIFF")
    with pytest.raises(UnreadableImageError, match=r"floating-point pixels.*8 or 16 bit"):
        decode(data, 8)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_an_animation_gives_its_first_frame(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(flat(RED), form, save_all=True, append_images=[flat(BLUE)], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert_flat(decode(data, 8), RED, tolerance=2 if form == "MPO" else 0)


# --- files that are no pictures


def test_the_format_is_told_from_the_bytes_and_not_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(encoded(flat(BLUE), "PNG"))
    assert_flat(decode(read_bytes(tmp_path / "picture.jpg"), 8), BLUE)
    (tmp_path / "text.jpg").write_text("This is not a picture at all.")
    with pytest.raises(UnreadableImageError, match="not an image in a supported format"):
        decode(read_bytes(tmp_path / "text.jpg"), 8)


@pytest.mark.parametrize("content", [b"root:x:0:0:root:/root", b"\x1b[2J secret", "ключ".encode()])
def test_a_reason_never_quotes_a_file_that_is_no_image(content: bytes) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode(content, 8)
    assert str(caught.value).isprintable()
    assert not {"root", "secret", "ключ"} & set(str(caught.value).replace(":", " ").split())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<!DOCTYPE html><title>404", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    ],
)
def test_what_is_often_found_instead_of_an_image_is_named(content: bytes, expected: str) -> None:
    with pytest.raises(UnreadableImageError, match=expected):
        decode(content, 8)


def test_a_sparse_file_of_many_bytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(UnreadableImageError, match=r"10,737,418,240 bytes.*BOTTLENECK_MAX_BYTES="):
        read_bytes(tmp_path / "large.jpg")
    (tmp_path / "small.jpg").write_bytes(b"123")
    monkeypatch.setenv("BOTTLENECK_MAX_BYTES", "2")
    with pytest.raises(UnreadableImageError, match="has 3 bytes, and the limit is 2"):
        read_bytes(tmp_path / "small.jpg")
    monkeypatch.setenv("BOTTLENECK_MAX_BYTES", "3")
    assert read_bytes(tmp_path / "small.jpg") == b"123"


def test_a_file_of_no_bytes_is_called_empty() -> None:
    with pytest.raises(UnreadableImageError, match=r"empty file \(0 bytes\)"):
        decode(b"", 8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_truncated_picture_is_refused(photographs: list[Image.Image], form: str) -> None:
    data = encoded(photographs[0], form)
    with pytest.raises(UnreadableImageError):
        decode(data[: len(data) // 2], 75)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_photograph_is_called_truncated(
    photographs: list[Image.Image], form: str
) -> None:
    data = encoded(photographs[0], form)
    with pytest.raises(UnreadableImageError, match="truncated: the file ends before"):
        decode(data[: len(data) // 2], 75)


PSD = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3) + b"\0" * 12 + struct.pack(">H", 0)


@pytest.mark.parametrize(
    ("form", "data"), [("EPS", encoded(flat(RED), "EPS")), ("PSD", PSD + b"\x80" * 12)]
)
def test_formats_outside_the_list_are_not_opened(form: str, data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == form  # Pillow itself would
    with pytest.raises(UnreadableImageError, match="not an image in a supported format"):
        decode(data, 8)


# --- how many pixels are too many


# two hundred bytes that claim 312 MB; its rows are missing, so that decoding it would say truncated
BOMB = png(50_000, 50_000, 1, 0, b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    expected = "too many pixels: 50000 × 50000 = 2,500,000,000.*--max-pixels 2500000000"
    with pixel_limit(), pytest.raises(UnreadableImageError, match=expected):
        decode(BOMB, 8)
    # outside, Pillow's own limit comes first
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode(BOMB, 8)


def test_max_pixels_is_the_most_that_is_taken() -> None:
    data = encoded(flat(RED), "PNG")  # 20 × 12
    assert_flat(decode(data, 8, max_pixels=240), RED)
    with pytest.raises(UnreadableImageError, match=r"20 × 12 = 240, .* limit is 239.*--max-pixels"):
        decode(data, 8, max_pixels=239)


def test_max_pixels_alone_decides_within_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    data = encoded(flat(RED), "PNG")
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode(data, 8)
    with pixel_limit():
        assert_flat(decode(data, 8), RED)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_pixel_limit_restores_the_limit_of_pillow_after_an_error() -> None:
    before = Image.MAX_IMAGE_PIXELS
    assert before is not None
    with contextlib.suppress(KeyError), pixel_limit():
        assert Image.MAX_IMAGE_PIXELS is None
        raise KeyError
    assert before == Image.MAX_IMAGE_PIXELS
    assert 2 * before == MAX_PIXELS


# --- hostile bytes


def _samples() -> list[bytes]:
    ramp = np.indices((24, 24, 3)).sum(axis=0).astype(np.uint8) * 5
    picture = Image.fromarray(ramp)
    forms = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA"]
    compressed = [encoded(picture, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg")]
    return [encoded(picture, form) for form in forms] + compressed + [_palette("GIF"), BOMB, PSD]


def survives(data: bytes) -> None:
    """Decode to a square or refuse in one line; any other exception fails the test."""
    try:
        outcome: np.ndarray | str = decode(data, 8, max_pixels=1_000_000)
    except UnreadableImageError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert len(outcome.splitlines()) == 1
    else:
        assert (outcome.shape, outcome.dtype) == ((8, 8, 3), np.uint8)


@steady
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    survives(data)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(steady, max_examples=600)
@given(st.data(), st.sampled_from(_samples()))
def test_a_mutated_picture_is_decoded_or_refused(draw: st.DataObject, data: bytes) -> None:
    mutated = bytearray(data)
    for position in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        mutated[position] = draw.draw(st.integers(0, 255))
    survives(bytes(mutated))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", range(len(_samples())))
def test_a_picture_cut_off_anywhere_is_decoded_or_refused(number: int) -> None:
    data = _samples()[number]
    for end in range(0, len(data), max(1, len(data) // 60)):
        survives(data[:end])
