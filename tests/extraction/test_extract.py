"""Extraction with the real base: what is computed, and what is not."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottleneck import BottleneckError, FeatureCache
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import build_with_weights, find_weights
from bottleneck.images.layout import LayoutOptions
from tests.pictures import extract_here


@pytest.fixture
def own(images: Path, cache: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the forty images and of their cache, to be changed."""
    mine = shutil.copytree(images, tmp_path / "images")
    features = shutil.copytree(cache, tmp_path / "cache")
    assert extract_here(mine, features).computed == 0
    return mine, features


def test_the_report_adds_up(few_images: Path, tmp_path: Path) -> None:
    shutil.copytree(few_images, tmp_path / "images")
    (tmp_path / "images/train/flower/broken.jpg").write_text("no picture")
    shutil.copy(few_images / "train/flower/00.jpg", tmp_path / "images/val/flower/same.jpg")
    report = extract_here(tmp_path / "images", tmp_path / "cache")
    assert (report.images, report.computed, report.reused, report.failed) == (8, 6, 1, 1)
    assert report.images_per_second == pytest.approx(6 / report.seconds)
    assert report.held_back_by in {"read", "decode", "base", "write"}
    assert (
        min(report.stages.read, report.stages.decode, report.stages.base, report.stages.write) > 0
    )
    assert set(report.to_dict()) == {
        "cache",
        "recipes",
        "images",
        "views",
        "computed",
        "reused",
        "failed",
        "seconds",
        "images_per_second",
        "stages",
        "held_back_by",
        "engine",
        "workers",
    }


def test_a_second_run_computes_nothing_and_opens_no_image(own: tuple[Path, Path]) -> None:
    images, cache = own
    # in a process of its own, with an eye on every file it opens
    code = (
        "import sys, bottleneck\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"report = bottleneck.extract({str(images)!r}, {str(cache)!r}, weights='random', image_size=75)\n"
        "assert (report.computed, report.reused) == (0, 40), report\n"
        "assert any('listing.h5' in name for name in opened)\n"
        "assert not [name for name in opened if name.endswith('.jpg')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def opened_by(images: Path, cache: Path) -> tuple[int, Counter[str], bool]:
    """Extract in a process of its own; tell what it computed, how often it opened each picture, and if it has Keras."""
    code = (
        "import json, sys, bottleneck\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"report = bottleneck.extract({str(images)!r}, {str(cache)!r}, weights='random', image_size=75)\n"
        "pictures = [name for name in opened if name.endswith('.jpg')]\n"
        "print(json.dumps([report.computed, pictures, 'keras' in sys.modules]))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    computed, pictures, built = json.loads(said)
    return computed, Counter(str(Path(name).relative_to(images)) for name in pictures), built


def test_a_picture_is_read_once_whether_new_known_elsewhere_doubled_or_broken(
    own: tuple[Path, Path], few_images: Path, tmp_path: Path
) -> None:
    images, cache = own
    moved = images.rename(tmp_path / "moved")
    shutil.copy(few_images / "train/flower/00.jpg", moved / "flower/new.jpg")
    shutil.copy(few_images / "train/flower/00.jpg", moved / "temple/new too.jpg")
    (moved / "flower/broken.jpg").write_text("no picture")
    computed, opened, built = opened_by(moved, cache)
    assert (computed, built) == (1, True)
    paths = {str(file.relative_to(moved)) for file in moved.rglob("*.jpg")}
    assert opened == Counter(dict.fromkeys(paths, 1))
    assert {row.path for row in FeatureCache(cache).listing.rows} == paths


def test_of_a_set_that_moved_all_is_read_and_no_base_is_built(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    images, cache = own
    moved = images.rename(tmp_path / "moved")
    computed, opened, built = opened_by(moved, cache)
    assert (computed, len(opened), set(opened.values()), built) == (0, 40, {1}, False)
    assert len(FeatureCache(cache).load().paths) == 40


def test_one_image_added_is_one_computed(own: tuple[Path, Path], few_images: Path) -> None:
    images, cache = own
    shutil.copy(few_images / "train/flower/00.jpg", images / "flower" / "new.jpg")
    report = extract_here(images, cache)
    assert (report.images, report.computed, report.reused) == (41, 1, 40)


def test_renaming_moving_and_relabelling_compute_nothing(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    images, cache = own
    before = FeatureCache(cache).load()
    (images / "flower/00.jpg").rename(images / "flower/renamed.jpg")
    (images / "flower/01.jpg").rename(images / "temple/relabelled.jpg")
    moved = images.rename(tmp_path / "moved")
    assert extract_here(moved, cache).computed == 0
    after = FeatureCache(cache).load()
    rows = dict(zip(before.digests, before.X, strict=True))
    for digest, x in zip(after.digests, after.X, strict=True):
        np.testing.assert_array_equal(x, rows[digest])
    assert after.classes[after.y[after.paths.index("temple/relabelled.jpg")]] == "temple"


def test_splitting_a_set_computes_nothing(own: tuple[Path, Path], tmp_path: Path) -> None:
    images, cache = own
    csv = tmp_path / "set.csv"
    files = sorted(path.relative_to(images) for path in images.rglob("*.jpg"))
    lines = [
        f"{file},{file.parent},{'val' if n % 4 == 0 else 'train'}" for n, file in enumerate(files)
    ]
    csv.write_text("\n".join(["path,label,split", *lines]))
    assert extract_here(csv, cache, root=images).computed == 0
    assert len(FeatureCache(cache).load(split="val").paths) == 10


def test_a_changed_image_is_computed_and_its_old_features_are_not_returned(
    own: tuple[Path, Path], few_images: Path
) -> None:
    images, cache = own
    before = FeatureCache(cache).load()
    shutil.copy(few_images / "train/temple/00.jpg", images / "flower/00.jpg")
    assert extract_here(images, cache).computed == 1
    after = FeatureCache(cache).load()
    row = after.paths.index("flower/00.jpg")
    assert not np.array_equal(after.X[row], before.X[row])


def test_an_image_taken_away_and_brought_back_computes_nothing(own: tuple[Path, Path]) -> None:
    images, cache = own
    away = (images / "flower/00.jpg").rename(images.parent / "away.jpg")
    assert extract_here(images, cache).images == 39
    away.rename(images / "flower/00.jpg")
    assert extract_here(images, cache).computed == 0


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"fit": "crop"}, {"tap": "mixed9"}, {"tap": "mixed7", "pool": "max"}]
)
def test_another_recipe_is_computed_and_the_first_one_kept(
    few_images: Path, few_cache: Path, tmp_path: Path, options: dict
) -> None:
    cache = shutil.copytree(few_cache, tmp_path / "cache")
    first = FeatureCache(cache).recipes[0]
    before = FeatureCache(cache).load()
    assert extract_here(few_images, cache, **options).computed == 6
    assert extract_here(few_images, cache).computed == 0
    found = FeatureCache(cache)
    assert len(found.recipes) == 2
    (second,) = set(found.recipes) - {first}
    np.testing.assert_array_equal(found.load(first).X, before.X)
    assert not np.array_equal(found.load(second).X, before.X)


def test_several_taps_are_filled_in_one_pass_with_what_one_pass_for_each_gives(
    few_images: Path, tmp_path: Path
) -> None:
    taps = ["conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"]
    small = {"base": "mobilenet_0.25", "image_size": 32}
    report = extract_here(few_images, tmp_path / "all", tap=[*taps, "conv_pw_11"], **small)
    assert report.computed == 6  # images the base was run on, not rows that were kept
    together = FeatureCache(tmp_path / "all")
    assert [together.find_recipe(name).recipe.tap for name in report.recipes] == taps
    for tap in taps:
        alone = tmp_path / tap
        extract_here(few_images, alone, tap=tap, **small)
        found = together.load(f"mobilenet_0.25-{tap}-")
        np.testing.assert_allclose(found.X, FeatureCache(alone).load().X, rtol=1e-5, atol=1e-6)
    side_by_side = together.load(recipes=report.recipes)
    assert side_by_side.X.shape == (6, 64 + 128 + 256)


def test_a_tap_added_is_all_that_is_computed(
    few_images: Path, few_cache: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(few_cache, tmp_path / "cache")
    sealed = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    assert extract_here(few_images, cache, tap=["mixed10", "mixed2"]).computed == 6
    assert sealed.items() <= {p: p.stat().st_mtime_ns for p in cache.rglob("shard-*")}.items()
    assert len(list(cache.rglob("shard-*"))) == len(sealed) + 1
    assert extract_here(few_images, cache, tap=["mixed2", "mixed10"]).computed == 0


AUGMENT = "flip,rotate=20,zoom=0.1"


def test_views_added_are_all_that_is_computed_and_the_plain_one_is_shared(
    few_images: Path, few_cache: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(few_cache, tmp_path / "cache")
    report = extract_here(few_images, cache, views=2, augment=AUGMENT)
    assert (report.images, report.views, report.computed, report.reused) == (6, 2, 12, 6)
    (augmented,) = report.recipes
    two = FeatureCache(cache).load(augmented, view="all").X.reshape(6, 3, -1)
    report = extract_here(few_images, cache, views=4, augment=AUGMENT)
    assert (report.computed, report.reused) == (12, 18)
    four = FeatureCache(cache).load(augmented, view="all").X.reshape(6, 5, -1)
    np.testing.assert_array_equal(four[:, :3], two)
    np.testing.assert_array_equal(four[:, 0], FeatureCache(few_cache).load().X)
    assert len(np.unique(four.reshape(30, -1), axis=0)) == 30
    assert extract_here(few_images, cache, views=4, augment=AUGMENT).computed == 0
    assert extract_here(few_images, cache).computed == 0
    # without a name, or by one that both have, it is the recipe that has all views
    found = [FeatureCache(cache).find_recipe(name).recipe.id for name in (None, "mixed10")]
    assert found == [augmented, augmented]
    other = extract_here(few_images, cache, views=1, augment="flip")
    assert (other.computed, other.recipes != report.recipes) == (6, True)


def test_views_are_those_of_the_picture_whatever_the_workers_and_the_batches(
    few_images: Path, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate([{"workers": 1}, {"workers": 4, "seal_seconds": 0}]):
        cache = tmp_path / str(number)
        report = extract_here(
            few_images, cache, views=3, augment=AUGMENT, tap=["mixed2", "mixed0"], **options
        )
        found.append([FeatureCache(cache).load(r, view="all").X for r in report.recipes])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"views": 2}, "--views 2 asks for views .* say how with --augment, for example"),
        ({"augment": "flip"}, "--augment flip says how views are made, .* --views"),
        ({"views": -1, "augment": "flip"}, "--views takes a number from 0 to 65535, not -1"),
        ({"views": 1, "augment": "flop"}, "--augment takes flip, "),
        ({"dtype": "float64"}, "unknown value 'float64' for --dtype: float32, float16"),
        (
            {"precision": "int4"},
            "unknown value 'int4' for --precision: float32, bfloat16, float16, int8",
        ),
        ({"tap": ["mixed7"], "drop_blocks": 1}, "--tap and --drop-blocks"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_done(
    few_images: Path, tmp_path: Path, options: dict, said: str
) -> None:
    with pytest.raises(BottleneckError, match=said):
        extract_here(few_images, tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()


def test_a_map_is_kept_whole_and_in_half_precision_where_it_is_not_pooled(
    few_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bottleneck")
    report = extract_here(few_images, tmp_path, tap="mixed7", pool="none")
    assert f"{report.recipes[0]} keeps maps of 3×3×768 in float16: 13,824 bytes" in caplog.text
    assert "0.1 MB in all" in caplog.text
    found = FeatureCache(tmp_path)
    assert found.load().X.shape == (6, 3, 3, 768)
    assert found.recipes[0].dtype == "float16"
    (shard,) = tmp_path.rglob("shard-*")
    assert shard.stat().st_size < 6 * 13_824 + 10_000
    extract_here(few_images, tmp_path, tap="mixed7", pool="none", dtype="float32")
    whole = next(recipe for recipe in found.recipes if recipe.dtype == "float32")
    half = next(recipe for recipe in found.recipes if recipe.dtype == "float16")
    np.testing.assert_array_equal(
        found.load(half).X, found.load(whole).X.astype(np.float16).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("value", "options", "said"),
    [
        (
            1e5,
            {"dtype": "float16"},
            r"'.*jpg' at mixed0 reach .*float16 ends at 65504; .*--dtype fl",
        ),
        (np.inf, {}, r"at mixed0, the base makes (inf|nan) of '.*jpg', .*--weights"),
        (np.nan, {}, r"at mixed0, the base makes nan of '.*jpg', .*--weights"),
    ],
)
def test_what_is_no_number_is_said_and_not_stored(
    few_images: Path, tmp_path: Path, value: float, options: dict, said: str
) -> None:
    """Weights whose normalisation adds more than can be."""
    import keras

    model = build_with_weights(find_base("inception_v3"), find_weights("random"), 75)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms[:12]:  # of mixed0 and what is below
        norm.beta.assign(np.full(norm.beta.shape, value))
    weights = tmp_path / "wild.weights.h5"
    model.save_weights(weights)
    cache = tmp_path / "cache"
    with pytest.raises(BottleneckError, match=said):
        extract_here(few_images, cache, weights=weights, tap="mixed0", **options)
    assert not list(cache.rglob("shard-*"))


def test_reduced_precision_is_a_recipe_of_its_own_and_comes_close(
    few_images: Path, few_cache: Path, tmp_path: Path
) -> None:
    import keras

    cache = shutil.copytree(few_cache, tmp_path / "cache")
    policy = keras.config.dtype_policy()
    (recipe,) = extract_here(few_images, cache, precision="bfloat16").recipes
    assert keras.config.dtype_policy() == policy
    found = FeatureCache(cache)
    plain, reduced = found.load(found.recipes[0]).X, found.load(recipe).X
    cosine = (
        (plain * reduced).sum(1) / np.linalg.norm(plain, axis=1) / np.linalg.norm(reduced, axis=1)
    )
    assert (cosine > 0.99).all()
    assert not np.array_equal(plain, reduced)


def test_features_are_the_same_bit_for_bit_in_any_order_and_company(
    few_images: Path, images: Path, few_cache: Path, tmp_path: Path
) -> None:
    """The images of the few among forty others: other neighbours, other places in the batch."""
    both = tmp_path / "both"
    shutil.copytree(images, both / "a")
    shutil.copytree(few_images, both / "b")
    extract_here(both, tmp_path / "cache", layout=LayoutOptions(classes_at=1))
    alone, among = FeatureCache(few_cache).load(), FeatureCache(tmp_path / "cache").load()
    rows = dict(zip(among.digests, among.X, strict=True))
    for digest, x in zip(alone.digests, alone.X, strict=True):
        np.testing.assert_array_equal(x, rows[digest])


@pytest.fixture(scope="module")
def plain(images: Path) -> dict[str, np.ndarray]:
    """What a plain Keras script makes of the forty images: load, preprocess, predict, average."""
    model = build_with_weights(find_base("inception_v3"), find_weights("random"), 75)
    paths = sorted(path.relative_to(images) for path in images.rglob("*.jpg"))
    squares = [
        Image.open(images / path).convert("RGB").resize((75, 75), Image.Resampling.BILINEAR)
        for path in paths
    ]
    pixels = np.stack([np.asarray(square, np.float32) for square in squares])
    import keras

    maps = model.predict(keras.applications.inception_v3.preprocess_input(pixels), verbose=0)
    return dict(zip(map(str, paths), maps.mean(axis=(1, 2)), strict=True))


@pytest.mark.parametrize(
    "batch_size", [1, 7, 16, 64]
)  # 40 images: 7, 16 and 64 leave a short batch
def test_features_are_those_of_a_plain_keras_script_in_every_batch_size(
    images: Path, plain: dict[str, np.ndarray], tmp_path: Path, batch_size: int
) -> None:
    extract_here(images, tmp_path, batch_size=batch_size)
    features = FeatureCache(tmp_path).load()
    for path, x in zip(features.paths, features.X, strict=True):
        assert np.linalg.norm(x - plain[path]) < 1e-4 * np.linalg.norm(plain[path])


def test_features_are_returned_for_the_same_weights_in_another_container(
    few_images: Path, few_cache: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(few_cache, tmp_path / "cache")
    model = build_with_weights(find_base("inception_v3"), find_weights("random"), 75)
    for name in ("same.weights.h5", "same.keras"):
        file = tmp_path / name
        model.save_weights(file) if name.endswith(".h5") else model.save(file)
        assert extract_here(few_images, cache, weights=file).computed == 0
    assert len(FeatureCache(cache).recipes) == 1


def test_a_failed_image_is_tried_again_when_it_changes_or_on_request(
    few_images: Path, few_cache: Path, tmp_path: Path
) -> None:
    images = shutil.copytree(few_images, tmp_path / "images")
    cache = shutil.copytree(few_cache, tmp_path / "cache")
    file = images / "train/flower/odd.jpg"
    large = (images / "train/flower/00.jpg").read_bytes() + b"padding makes it another image"
    file.write_bytes(large[:200])
    assert extract_here(images, cache).failed == 1
    (row,) = FeatureCache(cache).listing.failed
    assert row.path == "train/flower/odd.jpg"
    assert "truncated" in row.reason
    file.write_bytes(large)
    report = extract_here(images, cache, max_pixels=8999)  # 100 × 90 is one too many
    assert (report.failed, report.computed) == (1, 0)
    assert "--max-pixels 9000" in FeatureCache(cache).listing.failed[0].reason
    os.utime(file, (1, 1))
    report = extract_here(images, cache)
    assert (report.failed, report.computed) == (0, 1)


def test_a_failure_is_not_tried_again_without_a_reason(few_images: Path, tmp_path: Path) -> None:
    images = shutil.copytree(few_images, tmp_path / "images")
    for file in images.rglob("*.jpg"):
        os.utime(file, (1, 1))
    assert extract_here(images, tmp_path / "cache", max_pixels=8999).failed == 6
    assert extract_here(images, tmp_path / "cache").failed == 6
    assert extract_here(images, tmp_path / "cache", retry_failed=True).failed == 0


def test_nothing_is_begun_where_the_request_is_wrong(few_images: Path, tmp_path: Path) -> None:
    for options in (
        {"base": "x"},
        {"image_size": 74},
        {"weights": "x"},
        {"batch_size": 0},
        {"workers": 0},
        {"pool": "x"},
    ):
        with pytest.raises(BottleneckError):
            extract_here(few_images, tmp_path / "cache", **options)
    with pytest.raises(BottleneckError, match="no such folder"):
        extract_here(tmp_path / "no folder", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
