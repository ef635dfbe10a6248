import dataclasses
import hashlib
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.images.augment import Augmentation, make_view, parse_augmentation

ALL = "flip,rotate=15,shift=0.1,zoom=0.2,brightness=0.1"
GOLDEN = "8f6f926089d3ef3b468bc2e97b669756a376b71735ea9816145ba8b65f3666e9"
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
SMOOTH = np.add.outer(np.arange(40) * 2, np.arange(40) * 3)[..., None].repeat(3, 2).astype(np.uint8)

AUGMENTATIONS = st.builds(
    Augmentation,
    flip=st.booleans(),
    rotate=st.sampled_from([0, 1.5, 15, 90, 180]),
    shift=st.sampled_from([0, 0.1, 0.5]),
    zoom=st.sampled_from([0, 0.2, 0.5]),
    brightness=st.sampled_from([0, 0.1, 1]),
)
DIGESTS = st.text("0123456789abcdef", min_size=1, max_size=64)


def views_digest(count: int) -> str:
    views = (make_view(PIXELS, parse_augmentation(ALL), "1f", view) for view in range(count))
    return hashlib.sha256(b"".join(view.tobytes() for view in views)).hexdigest()


def test_views_are_the_same_in_another_process_and_on_every_machine() -> None:
    code = "from tests.images.test_augment import views_digest; print(views_digest(20))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == views_digest(20)
    # what they were when this was written: caches hold features of views made by then
    assert views_digest(20) == GOLDEN


@settings(deadline=None)
@given(augmentation=AUGMENTATIONS, digest=DIGESTS, view=st.integers(0, 2**16 - 1))
def test_a_view_is_a_picture_of_the_same_size_and_the_same_every_time(
    augmentation: Augmentation, digest: str, view: int
) -> None:
    before = PIXELS.copy()
    made = make_view(PIXELS, augmentation, digest, view)
    assert (made.shape, made.dtype) == (PIXELS.shape, PIXELS.dtype)
    np.testing.assert_array_equal(made, make_view(PIXELS, augmentation, digest, view))
    np.testing.assert_array_equal(PIXELS, before)


@settings(deadline=None)
@given(augmentation=AUGMENTATIONS, digest=DIGESTS)
def test_view_0_is_plain(augmentation: Augmentation, digest: str) -> None:
    np.testing.assert_array_equal(make_view(PIXELS, augmentation, digest, 0), PIXELS)


def test_views_differ_from_each_other_and_from_picture_to_picture() -> None:
    augmentation = parse_augmentation(ALL)
    made = [
        make_view(PIXELS, augmentation, digest, view).tobytes()
        for digest in ("1f", "2e")
        for view in range(1, 50)
    ]
    assert len(set(made)) == len(made)


def test_half_of_the_views_are_flipped() -> None:
    flip = Augmentation(flip=True)
    made = [make_view(PIXELS, flip, "1f", view) for view in range(1, 201)]
    flipped = sum(np.array_equal(view, PIXELS[:, ::-1]) for view in made)
    plain = sum(np.array_equal(view, PIXELS) for view in made)
    assert flipped + plain == 200
    assert 70 < flipped < 130


def test_brightness_multiplies_pixels_by_at_most_what_was_said() -> None:
    factors = []
    for view in range(1, 100):
        made = make_view(SMOOTH, Augmentation(brightness=0.2), "1f", view).astype(float)
        factors.append(made[20, 20, 0] / SMOOTH[20, 20, 0])
        expected = np.minimum(SMOOTH * factors[-1], 255)
        assert np.abs(made - expected).max() <= 1.5  # rounded, and the factor told from one pixel
    assert 0.79 < min(factors) < 0.85 < 1.15 < max(factors) < 1.21


@pytest.mark.parametrize(
    ("augmentation", "most"),
    [(Augmentation(shift=0.1), 4), (Augmentation(zoom=0.2), 4), (Augmentation(rotate=10), 3.5)],
)
def test_things_move_by_at_most_what_was_said(augmentation: Augmentation, most: float) -> None:
    """A bright spot 20 pixels from the centre of a dark picture."""
    dark = np.zeros((81, 81, 3), np.uint8)
    dark[39:42, 59:62] = 250
    moved = []
    for view in range(1, 60):
        weight = make_view(dark, augmentation, "1f", view)[..., 0].astype(float)
        rows, columns = np.indices(weight.shape)
        place = [(axis * weight).sum() / weight.sum() for axis in (rows, columns)]
        moved.append(math.dist(place, (40, 60)))
    bound = most if not augmentation.shift else 0.1 * 81 * math.sqrt(2)
    assert 0.5 * bound < max(moved) <= bound + 0.5


def test_what_comes_in_from_beyond_the_border_is_the_mirrored_picture() -> None:
    bright = np.full((40, 40, 3), 200, np.uint8)
    turned = Augmentation(rotate=180, shift=0.5, zoom=0.5)
    for view in range(1, 50):
        assert make_view(bright, turned, "1f", view).min() == 200


def test_interpolation_is_exact_so_that_no_processor_rounds_it_otherwise() -> None:
    """Pillow against fractions: pixels must be the whole part of the exact value, every one."""
    from PIL import Image

    size, unit = 40, 1 << 16
    rng = np.random.default_rng(1)
    for _ in range(3):
        a, b, d, e = (Fraction(int(n), unit) for n in rng.integers(-unit, unit, 4))
        c, f = (Fraction(int(n), unit) for n in rng.integers(5 * unit, 30 * unit, 2))
        moved = Image.fromarray(PIXELS).transform(
            (size, size),
            Image.Transform.AFFINE,
            tuple(map(float, (a, b, c, d, e, f))),
            Image.Resampling.BILINEAR,
        )
        for y in range(0, size, 3):
            for x in range(0, size, 3):
                half = Fraction(1, 2)
                across = a * (x + half) + b * (y + half) + c - half
                down = d * (x + half) + e * (y + half) + f - half
                if not (1 <= across < size - 2 and 1 <= down < size - 2):
                    continue
                left, top = math.floor(across), math.floor(down)
                p = PIXELS[top : top + 2, left : left + 2].astype(int)
                s, t = across - left, down - top
                rows = [
                    (1 - s) * p[i, 0].astype(object) + s * p[i, 1].astype(object) for i in (0, 1)
                ]
                exact = (1 - t) * rows[0] + t * rows[1]
                assert moved.getpixel((x, y)) == tuple(math.floor(value) for value in exact)


@given(augmentation=AUGMENTATIONS)
def test_what_a_recipe_says_reads_back(augmentation: Augmentation) -> None:
    assert parse_augmentation(str(augmentation)) == augmentation


@given(order=st.permutations(ALL.split(",")))
def test_the_order_it_is_written_in_does_not_matter(order: list[str]) -> None:
    assert str(parse_augmentation(",".join(order))) == ALL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flop", "--augment takes flip, rotate=NUMBER, .* not 'flop'"),
        ("flip=1", "not 'flip=1'"),
        ("rotate", "not 'rotate'"),
        ("rotate=far", "not 'rotate=far'"),
        ("zoom=nan", "not 'zoom=nan'"),
        ("flip,,zoom=0.1", "not ''"),
        ("", "not ''"),
        ("rotate=181", "rotate in --augment takes a number from 0 to 180, not 181"),
        ("shift=-0.1", "shift in --augment takes a number from 0 to 0.5, not -0.1"),
    ],
)
def test_what_cannot_be_done_is_said(text: str, said: str) -> None:
    with pytest.raises(BottleneckError, match=said):
        parse_augmentation(text)


def test_every_transformation_has_a_limit_and_a_name_in_the_text() -> None:
    for field in dataclasses.fields(Augmentation):
        assert field.name in ALL
