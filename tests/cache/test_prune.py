from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.prune import prune
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.verify import verify
from bottleneck.errors import BottleneckError
from tests.cache.test_recipe import RECIPE
from tests.cache.test_store import build


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(build(tmp_path / "cache"))


def keep(cache: FeatureCache, count: int) -> None:
    write_listing(cache.path, Listing(str(cache.path), cache.listing.rows[:count]))


def test_nothing_is_removed_where_all_is_listed(cache: FeatureCache) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in cache.path.rglob("*.h5"))
    assert prune(cache).rows == 0
    assert sorted((p, p.stat().st_mtime_ns) for p in cache.path.rglob("*.h5")) == before


def test_features_of_unlisted_images_go_and_the_others_stay_bit_for_bit(
    cache: FeatureCache,
) -> None:
    keep(cache, 10)
    before = cache.load().X
    assert prune(cache, dry_run=True).rows == 20
    assert prune(cache).rows == 20
    np.testing.assert_array_equal(cache.load().X, before)
    verdict = verify(cache)
    assert verdict.rows == 10
    assert verdict.damages == verdict.gaps == ()
    assert prune(cache).rows == 0


def test_a_dry_run_changes_nothing(cache: FeatureCache) -> None:
    keep(cache, 1)
    prune(cache, dry_run=True)
    prune(cache, recipe=RECIPE.id, dry_run=True)
    assert verify(cache).rows == 30


def test_a_whole_recipe_can_go(cache: FeatureCache) -> None:
    pruned = prune(cache, recipe="inception_v3")
    assert (pruned.rows, pruned.recipes) == (30, (RECIPE.id,))
    assert cache.recipes == ()


def test_a_damaged_shard_is_not_thrown_away(cache: FeatureCache) -> None:
    keep(cache, 10)
    shard = next((cache.path / "features" / RECIPE.id).glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BottleneckError, match="cache repair"):
        prune(cache)
    assert shard.exists()


def test_without_a_listing_nothing_is_removed(cache: FeatureCache) -> None:
    (cache.path / "listing.h5").unlink()
    with pytest.raises(BottleneckError, match="no listing"):
        prune(cache)
    assert verify(cache).rows == 30
