import dataclasses
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.recipe import Recipe, RecipeFile, write_recipe
from bottleneck.cache.rows import FAILED, Row
from bottleneck.cache.shard import write_shard
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from tests.cache.test_recipe import RECIPE

# An image's features are its number, so that a row in the wrong place is seen.
NUMBERS = np.random.default_rng(1).permutation(30)


def build(path: Path, rows_per_shard: int = 7) -> Path:
    """Write a cache of thirty images by hand, in shards that keep another order than the listing."""
    keep(path, RECIPE, NUMBERS, width=4, rows_per_shard=rows_per_shard)
    rows = [
        Row(f"{n:02d}.jpg", digest(n), "odd" if n % 2 else "even", "val" if n % 3 == 0 else "train")
        for n in range(30)
    ]
    copy = rows[4]._replace(path="copy of 04.jpg", label=None)
    broken = Row("broken.jpg", status=FAILED, reason="truncated", label="even")
    write_listing(path, Listing(str(path), (*rows, copy, broken)))
    return path


def keep(
    path: Path,
    recipe: Recipe,
    numbers: Sequence[int],
    width: int,
    *,
    rows_per_shard: int = 7,
    views: int = 0,
) -> None:
    """Write features of images under a recipe: the image's number, and a hundredth for each view."""
    folder = path / "features" / recipe.id
    folder.mkdir(parents=True)
    write_recipe(folder, RecipeFile(recipe, "random-0", (), views))
    keys = [(number, view) for number in numbers for view in recipe.kept(views)]
    for start in range(0, len(keys), rows_per_shard):
        part, of = np.array(keys[start : start + rows_per_shard]).T
        features = np.repeat((part + of / 100)[:, None], width, axis=1).astype(np.float32)
        write_shard(folder, recipe, [digest(n) for n in part], of.astype(np.uint16), features)


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(build(tmp_path / "cache"))


def test_rows_paths_and_labels_belong_together(cache: FeatureCache) -> None:
    features = cache.load()
    assert features.X.dtype == np.float32
    assert features.X.shape == (31, 4)
    for x, y, path, own in zip(
        features.X, features.y, features.paths, features.digests, strict=True
    ):
        number = int(own, 16)
        np.testing.assert_array_equal(x, number)
        assert path.endswith(f"{number:02d}.jpg")
        assert y == (
            -1
            if path.startswith("copy")
            else features.classes.index("odd" if number % 2 else "even")
        )


def test_half_precision_is_given_where_asked_for(cache: FeatureCache) -> None:
    half, single = cache.load(dtype="float16"), cache.load()
    assert half.X.dtype == np.float16
    assert single.X.dtype == np.float32
    np.testing.assert_array_equal(half.X, single.X.astype(np.float16))


def test_failed_images_are_left_out_and_duplicates_are_not(cache: FeatureCache) -> None:
    paths = cache.load().paths
    assert "broken.jpg" not in paths
    assert {"04.jpg", "copy of 04.jpg"} <= set(paths)


def test_a_split_holds_its_images_and_the_classes_of_all(cache: FeatureCache) -> None:
    val = cache.load(split="val")
    assert [int(d, 16) for d in val.digests] == list(range(0, 30, 3))
    assert val.classes == ("even", "odd")
    assert set(val.splits) == {"val"}


@settings(deadline=None, max_examples=25)
@given(batch_size=st.integers(1, 40), rows_per_shard=st.integers(1, 30))
def test_batches_are_the_rows_of_load_whatever_their_size(
    batch_size: int, rows_per_shard: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = FeatureCache(build(tmp_path_factory.mktemp("c") / "cache", rows_per_shard))
    whole = cache.load(split="train")
    batches = list(cache.iter_batches(split="train", batch_size=batch_size))
    assert all(len(batch.y) == batch_size for batch in batches[:-1])
    np.testing.assert_array_equal(np.concatenate([b.X for b in batches]), whole.X)
    np.testing.assert_array_equal(np.concatenate([b.y for b in batches]), whole.y)
    assert sum((b.paths for b in batches), ()) == whole.paths


def test_a_recipe_is_found_by_itself_its_id_and_parts_of_it(cache: FeatureCache) -> None:
    for name in (RECIPE, RECIPE.id, "inception_v3-mixed10", None):
        assert cache.find_recipe(name).recipe == RECIPE
    other = dataclasses.replace(RECIPE, tap="mixed1")
    keep(cache.path, other, range(30), width=4)
    for name in ("mixed1", "mixed1-avg", "inception_v3-mixed1-", other.id[-8:]):
        assert cache.find_recipe(name).recipe == other  # and not mixed10
    with pytest.raises(BottleneckError, match=r"several recipes fit in .*Name one of them"):
        cache.find_recipe("avg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"recipe": "vgg16"}, "no recipe 'vgg16' .*inception_v3-mixed10.*--recipe"),
        ({"split": "test"}, "no images in split 'test'; its splits: train, val"),
        ({"view": 1}, r"no view 1 under inception_v3-.*last is view 0.*extract --views"),
        ({"recipes": [RECIPE, RECIPE.id]}, r"inception_v3-.* is named twice with --recipe"),
        ({"recipe": RECIPE, "recipes": [RECIPE]}, "one recipe, or several"),
    ],
)
def test_what_is_not_there_is_said(cache: FeatureCache, arguments: dict, said: str) -> None:
    with pytest.raises(BottleneckError, match=said):
        cache.load(**arguments)


@settings(deadline=None, max_examples=25)
@given(order=st.permutations(range(30)), rows_per_shard=st.integers(1, 30))
def test_features_of_several_recipes_stand_side_by_side_image_by_image(
    order: list[int], rows_per_shard: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = build(tmp_path_factory.mktemp("cache"))
    other = dataclasses.replace(RECIPE, tap="mixed7")
    keep(path, other, order, width=3, rows_per_shard=rows_per_shard)
    cache = FeatureCache(path)
    both = cache.load(recipes=[other, RECIPE])
    assert both.X.shape == (31, 7)
    np.testing.assert_array_equal(both.X[:, :3], cache.load(other).X)
    np.testing.assert_array_equal(both.X[:, 3:], cache.load(RECIPE).X)
    batches = list(cache.iter_batches(recipes=[other, RECIPE], batch_size=8))
    np.testing.assert_array_equal(np.concatenate([batch.X for batch in batches]), both.X)


def test_maps_are_not_put_side_by_side(cache: FeatureCache) -> None:
    maps = dataclasses.replace(RECIPE, pool="none")
    keep(cache.path, maps, range(30), width=4)
    with pytest.raises(BottleneckError, match="only vectors can be put side by side"):
        cache.load(recipes=[RECIPE, maps])


def test_the_plain_view_is_that_of_the_recipe_without_augmentation(cache: FeatureCache) -> None:
    flipped = dataclasses.replace(RECIPE, augmentation="flip")
    keep(cache.path, flipped, range(30), width=4, views=2)
    np.testing.assert_array_equal(cache.load(flipped).X, cache.load(RECIPE).X)
    np.testing.assert_allclose(cache.load(flipped, view=2).X, cache.load(RECIPE).X + 0.02)
    every = cache.load(flipped, view="all")
    assert every.X.shape == (3 * 31, 4)
    assert every.views.tolist() == [0, 1, 2] * 31
    assert every.paths[::3] == every.paths[1::3] == cache.load(RECIPE).paths
    np.testing.assert_allclose(every.X[2::3], cache.load(flipped, view=2).X)
    with pytest.raises(BottleneckError, match=r"no view 3 under .*-augmented-.*last is view 2"):
        cache.load(flipped, view=3)


def test_a_view_that_is_missing_is_an_error(cache: FeatureCache) -> None:
    flipped = dataclasses.replace(RECIPE, augmentation="flip")
    keep(cache.path, flipped, range(29), width=4, views=2)
    with pytest.raises(BottleneckError, match=r"2 of 93 .*the first '29.jpg' in view 1"):
        cache.load(flipped, view="all")


def test_missing_features_are_an_error_and_not_left_out(cache: FeatureCache) -> None:
    next((cache.path / "features" / RECIPE.id).glob("shard-*")).unlink()
    with pytest.raises(BottleneckError, match="have no features"):
        cache.load()
    with pytest.raises(BottleneckError, match="have no features"):
        next(cache.iter_batches(batch_size=1))


def test_a_damaged_shard_is_an_error_in_load_and_in_batches(cache: FeatureCache) -> None:
    shard = sorted((cache.path / "features" / RECIPE.id).glob("shard-*"))[-1]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    for read in (cache.load, lambda: next(cache.iter_batches())):
        with pytest.raises(BottleneckError, match=f"{shard.name} is damaged"):
            read()


def test_readers_need_no_right_to_write_and_leave_no_trace(cache: FeatureCache) -> None:
    for path in (cache.path, *cache.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(cache.path.rglob("*"))
    cache.load()
    assert sorted(cache.path.rglob("*")) == before
    for path in (cache.path, *cache.path.rglob("*")):
        path.chmod(0o755)


def test_readers_are_not_blocked_by_somebody_who_locked_the_files(cache: FeatureCache) -> None:
    shards = list((cache.path / "features" / RECIPE.id).glob("shard-*"))
    files = [h5py.File(path, "r", locking=True) for path in (*shards, cache.path / "listing.h5")]
    assert cache.load().X.shape == (31, 4)
    for file in files:
        file.close()


def test_a_folder_without_a_cache_is_refused_with_the_command_that_makes_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(BottleneckError, match="bottleneck extract IMAGES --cache"):
        FeatureCache(tmp_path)


def test_a_cache_whose_first_extraction_was_interrupted_says_so(cache: FeatureCache) -> None:
    (cache.path / "listing.h5").unlink()
    with pytest.raises(BottleneckError, match="first extraction was interrupted"):
        cache.load()


def test_a_cache_may_be_moved(cache: FeatureCache, tmp_path: Path) -> None:
    before = cache.load()
    moved = FeatureCache(shutil.move(cache.path, tmp_path / "elsewhere"))
    np.testing.assert_array_equal(moved.load().X, before.X)


def test_batches_of_a_large_cache_take_the_memory_of_a_batch(tmp_path: Path) -> None:
    folder = tmp_path / "features" / RECIPE.id
    folder.mkdir(parents=True)
    write_recipe(folder, RecipeFile(RECIPE, "random-0", ()))
    rows = []
    for part in range(8):  # of 8 MiB each
        digests = [digest(1000000 * part + n) for n in range(1024)]
        features = np.full((1024, 2048), part, np.float32)
        write_shard(folder, RECIPE, digests, np.zeros(1024, np.uint16), features)
        rows += [Row(f"{d}.jpg", d, "a") for d in digests]
    write_listing(tmp_path, Listing(str(tmp_path), tuple(rows)))
    cache = FeatureCache(tmp_path)
    tracemalloc.start()
    total = sum(int(batch.X.sum()) for batch in cache.iter_batches(batch_size=256))
    _, streamed = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == sum(range(8)) * 1024 * 2048
    assert streamed < 20 * 2**20  # two batches of 2 MiB, and the table of 8,192 images
