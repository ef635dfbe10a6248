from pathlib import Path

import pytest

from bottleneck.cache.store import FeatureCache
from bottleneck.cache.verify import verify
from tests.cache.test_recipe import RECIPE
from tests.cache.test_store import build


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(build(tmp_path / "cache"))


def test_a_sound_cache_has_no_damages_and_no_gaps(cache: FeatureCache) -> None:
    verdict = verify(cache)
    assert (verdict.shards, verdict.rows) == (5, 30)
    assert verdict.damages == verdict.gaps == ()


@pytest.mark.parametrize("name", ["listing.h5", f"features/{RECIPE.id}/recipe.json"])
def test_other_damaged_files_are_named_too(cache: FeatureCache, name: str) -> None:
    (cache.path / name).write_bytes(b"garbage")
    assert len(verify(cache).damages) == 1
    assert name.split("/")[-1] in verify(cache).damages[0]


def test_every_damaged_shard_is_named_and_the_others_counted(cache: FeatureCache) -> None:
    shards = sorted((cache.path / "features" / RECIPE.id).glob("shard-*"))
    for shard in shards[:2]:
        shard.write_bytes(shard.read_bytes()[:-1])
    verdict = verify(cache)
    assert verdict.shards == 3
    assert [any(s.name in line for line in verdict.damages) for s in shards] == [True] * 2 + [
        False
    ] * 3


def test_a_shard_that_is_gone_is_a_gap(cache: FeatureCache) -> None:
    next((cache.path / "features" / RECIPE.id).glob("shard-*")).unlink()
    verdict = verify(cache)
    assert verdict.damages == ()
    assert "lacks features of" in verdict.gaps[0]
    assert "cache repair" in verdict.gaps[0]
