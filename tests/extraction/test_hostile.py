"""A folder of everything that goes wrong with pictures."""

import os
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottleneck import FeatureCache
from bottleneck.cache.rows import FAILED, OK, Row
from tests.commandline import Cli, command, last_json
from tests.pictures import write_crops

# name, and the part of the reason a person is told; None where the picture is fine
HOSTILE = {
    "bomb.png": "too many pixels: 50000 × 50000",
    "broken link.jpg": "broken link",
    "empty.jpg": "empty file (0 bytes)",
    "folder loop": "link loop",
    "link to itself.jpg": "link loop",
    "not allowed.jpg": "no permission",
    "pipe.jpg": "not a regular file",
    "text.jpg": "not an image in a supported format",
    "truncated.jpg": "truncated",
    "truncated.png": "truncated",
    "16 bit.png": None,
    "a png in truth.jpg": None,
    "animated.gif": None,
    "cmyk.jpg": None,
    "name with\nnewline 🐜 and  spaces.jpg": None,
    "palette with transparency.png": None,
    "rotated.jpg": None,
    os.fsdecode(b"not utf-8 \xff.jpg"): None,
}


@pytest.fixture(scope="module")
def photograph(photographs: list[Image.Image]) -> Image.Image:
    return photographs[1].resize((160, 120))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, photograph: Image.Image) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "images" / "thing"
    folder.mkdir(parents=True)
    good = folder / "a png in truth.jpg"
    photograph.save(good, "PNG")
    (folder / "bomb.png").write_bytes(png_header(50_000, 50_000))
    (folder / "broken link.jpg").symlink_to("nowhere.jpg")
    (folder / "empty.jpg").touch()
    (folder / "folder loop").symlink_to(folder.parent)
    (folder / "link to itself.jpg").symlink_to("link to itself.jpg")
    photograph.save(folder / "not allowed.jpg")
    (folder / "not allowed.jpg").chmod(0)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "text.jpg").write_text("This is no picture, whatever its name says.")
    for suffix in ("jpg", "png"):
        whole = folder / f"truncated.{suffix}"
        photograph.save(whole)
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    gray = np.asarray(photograph.convert("L"), np.uint16)
    Image.fromarray(gray * 257).save(folder / "16 bit.png")
    photograph.save(folder / "animated.gif", save_all=True, append_images=[photograph.rotate(180)])
    photograph.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    photograph.save(folder / "name with\nnewline 🐜 and  spaces.jpg", quality=95)
    see_through = photograph.convert("P")
    see_through.info["transparency"] = 0
    see_through.save(folder / "palette with transparency.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    photograph.transpose(Image.Transpose.ROTATE_90).save(
        folder / "rotated.jpg", exif=exif, quality=95
    )
    photograph.save(folder / os.fsdecode(b"not utf-8 \xff.jpg"), quality=90)
    return folder.parent


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file that says how large the picture is, and not much more."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    )


@pytest.fixture(scope="module", params=["keras", "openvino"])
def cache(hostile: Path, cli: Cli, request: pytest.FixtureRequest) -> FeatureCache:
    cache = hostile.parent / request.param
    process = cli(
        *("extract", hostile, "--cache", cache, "--weights", "random", "--image-size", 75),
        *("--engine", request.param, "--json"),
        **without_privileges(hostile.parent),
    )
    report = last_json(process)
    assert report["failed"] == sum(reason is not None for reason in HOSTILE.values())
    assert report["images"] == len(HOSTILE)
    return FeatureCache(cache)


@pytest.fixture(scope="module")
def rows(cache: FeatureCache) -> dict[str, Row]:
    return {row.path.removeprefix("thing/"): row for row in cache.listing.rows}


def without_privileges(folder: Path) -> dict[str, Callable[[], None]]:
    """Options for a process for which a file without permissions is unreadable, as root it is not."""
    if os.geteuid() != 0:
        return {}
    import ctypes

    libc = ctypes.CDLL(None)

    def drop() -> None:
        # out of the bounding set, CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2) are gone after exec
        for capability in (1, 2):
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    return {"preexec_fn": drop}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_every_file_has_a_row_that_tells_what_became_of_it(rows: dict[str, Row], name: str) -> None:
    reason = HOSTILE[name]
    if reason is None:
        assert (rows[name].status, rows[name].reason) == (OK, "")
    else:
        assert rows[name].status == FAILED
        assert reason in rows[name].reason
        assert "\n" not in rows[name].reason


@pytest.mark.parametrize(
    "name",
    [name for name, reason in HOSTILE.items() if reason is None],
    ids=ascii,
)
def test_every_good_file_has_the_features_of_the_picture_it_shows(
    cache: FeatureCache, photograph: Image.Image, name: str
) -> None:
    """They were all made of one photograph, in colour or in gray: its features are what they have."""
    features = cache.load()
    found = dict(zip((Path(path).name for path in features.paths), features.X, strict=True))
    assert set(found) == {n for n, reason in HOSTILE.items() if reason is None}
    shown = shown_pixels(photograph, name)
    expected = plain_features(shown)
    distance = np.linalg.norm(found[name] - expected) / np.linalg.norm(expected)
    others = plain_features(shown[::-1, ::-1])  # upside down, the same colours
    far = np.linalg.norm(others - expected) / np.linalg.norm(expected)
    assert distance < 0.2 * far


def shown_pixels(photograph: Image.Image, name: str) -> np.ndarray:
    if name == "16 bit.png":
        photograph = photograph.convert("L").convert("RGB")
    if name == "palette with transparency.png":
        palette = photograph.convert("P")
        white = np.asarray(palette) == 0
        pixels = np.asarray(palette.convert("RGB")).copy()
        pixels[white] = 255
        photograph = Image.fromarray(pixels)
    if name == "animated.gif":
        photograph = photograph.quantize().convert("RGB")
    square = photograph.convert("RGB").resize((75, 75), Image.Resampling.BILINEAR)
    return np.asarray(square)


_network = None


def plain_features(pixels: np.ndarray) -> np.ndarray:
    global _network
    if _network is None:
        from bottleneck.extraction.request import make_request
        from bottleneck.extraction.spec import FeatureSpec

        _network = make_request(
            FeatureSpec("inception_v3", "random", image_size=75)
        ).build_network()
    return _network.features(pixels[None])[0]


def test_files_that_vanish_while_it_runs_are_failed_rows_and_stop_nothing(
    photographs: list[Image.Image], tmp_path: Path
) -> None:
    images, cache = tmp_path / "images", tmp_path / "cache"
    write_crops(images / "thing", photographs[0], 60, seed=5)
    process = subprocess.Popen(
        command("extract", images, "--cache", cache, "--weights", "random", "--image-size", 75),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    # the images are listed before the network is built, and opened after it
    while not (cache / ".writer.json").exists():
        time.sleep(0.02)
    time.sleep(1.5)
    (images / "thing" / "59.jpg").unlink()
    (images / "thing" / "58.jpg").write_bytes((images / "thing" / "00.jpg").read_bytes()[:-9])
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    rows = {row.path: row for row in FeatureCache(cache).listing.rows}
    assert "no such file" in rows["thing/59.jpg"].reason
    assert "truncated" in rows["thing/58.jpg"].reason
    assert sum(row.status == OK for row in rows.values()) == 58
    assert len(FeatureCache(cache).load().paths) == 58
