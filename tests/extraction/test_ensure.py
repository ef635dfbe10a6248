"""Ensuring that features are cached."""

import functools
from pathlib import Path

import pytest

from bottleneck import BottleneckError, FeatureCache
from bottleneck.cache.lock import writer_lock
from bottleneck.cache.shard import shard_paths
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.ensure import RecordedFeatures, ensure_features
from bottleneck.extraction.execution import Execution
from bottleneck.extraction.request import request_from_recipes
from tests.pictures import extract_here

SMALL = {"base": "mobilenet_0.25", "image_size": 32}


def test_complete_features_need_neither_the_lock_nor_a_request(
    few_images: Path, tmp_path: Path
) -> None:
    extract_here(few_images, tmp_path, **SMALL)
    store = FeatureCache(tmp_path)

    def refuse() -> None:
        raise AssertionError("a request was made")

    recorded = RecordedFeatures(store.recipes, 0, refuse)
    with writer_lock(store.path):  # taking it again would be an error
        found = ensure_features(store.path, store.listing, recorded, Execution(Settings()))
    assert (found.recipes, found.listing) == (store.recipes, store.listing)


def test_missing_features_are_computed_and_damaged_ones_can_be_refused(
    few_images: Path, tmp_path: Path
) -> None:
    extract_here(few_images, tmp_path, **SMALL)
    store = FeatureCache(tmp_path)
    before = store.load().X
    (shard,) = shard_paths(store.folders[0])
    request = functools.partial(request_from_recipes, store.recipes, "random")
    recorded = RecordedFeatures(store.recipes, 0, request)
    shard.write_bytes(b"damaged")
    with pytest.raises(BottleneckError, match=shard.name):
        ensure_features(
            *(store.path, store.listing, recorded, Execution(Settings())), damaged="refuse"
        )
    execution = Execution(Settings())
    ensure_features(store.path, store.listing, recorded, execution)
    assert execution.statistics.computed == len(before)
    assert FeatureCache(tmp_path).load().X.tobytes() == before.tobytes()
