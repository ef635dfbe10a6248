import dataclasses
from pathlib import Path

import pytest

from bottleneck.cache.explain import differences, find_image, holdings
from bottleneck.cache.info import describe
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from tests.cache.test_recipe import RECIPE
from tests.cache.test_store import build, digest


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(build(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["04.jpg", "/somewhere/04.jpg"])
def test_an_image_is_found_by_its_path(cache: FeatureCache, name: str) -> None:
    assert [row.path for row in find_image(cache, name)] == ["04.jpg"]


def test_an_image_and_its_duplicate_are_found_by_digest(cache: FeatureCache) -> None:
    assert [row.path for row in find_image(cache, digest(4))] == ["04.jpg", "copy of 04.jpg"]


def test_an_image_that_is_not_listed_is_said_to_be_unlisted(cache: FeatureCache) -> None:
    with pytest.raises(BottleneckError, match="is not in the listing"):
        find_image(cache, "99.jpg")


def test_it_tells_which_row_of_which_shard_holds_an_image(cache: FeatureCache) -> None:
    (holding,) = holdings(cache, digest(17))
    from bottleneck.cache.shard import read_shard

    shard = read_shard(cache.path / "features" / holding.recipe / holding.shard)
    assert shard.digests[holding.row] == digest(17)
    assert holdings(cache, digest(99)) == ()


def test_recipes_differ_in_the_fields_that_differ() -> None:
    other = dataclasses.replace(RECIPE, fit="crop", image_size=299)
    assert differences((RECIPE, other)) == {"image_size": ("75", "299"), "fit": ("squash", "crop")}
    assert differences((RECIPE,)) == differences(()) == {}


def test_info_counts_what_is_there(cache: FeatureCache) -> None:
    found = describe(cache)
    (entry,) = found.recipes
    assert (entry.shards, entry.rows, entry.missing, entry.unlisted) == (5, 30, 0, 0)
    assert found.classes == {"even": 15, "odd": 15}
    assert found.splits == {"train": 21, "val": 10}
    assert found.listing is not None
    assert len(found.listing.failed) == 1
