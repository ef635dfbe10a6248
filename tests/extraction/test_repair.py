import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, FeatureCache
from bottleneck.cache.shard import read_shard, shard_paths
from bottleneck.cache.verify import verify
from bottleneck.extraction.repair import repair
from tests.commandline import Cli, last_json
from tests.pictures import extract_here


@pytest.fixture(scope="module")
def sealed_often(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forty images in five shards of eight."""
    cache = tmp_path_factory.mktemp("often") / "cache"
    extract_here(images, cache, batch_size=8, seal_seconds=0)
    assert verify(FeatureCache(cache)).shards == 5
    return cache


@pytest.fixture
def damaged(sealed_often: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy with one bit of one shard flipped, and that shard."""
    cache = shutil.copytree(sealed_often, tmp_path / "cache")
    shard = random.Random(0).choice(shard_paths(FeatureCache(cache).folders[0]))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    return cache, shard


def test_verify_names_the_shard_and_exits_with_1(damaged: tuple[Path, Path], cli: Cli) -> None:
    cache, shard = damaged
    process = cli("cache", "verify", cache, check=False)
    assert process.returncode == 1
    assert shard.name in process.stdout
    as_json = cli("cache", "verify", cache, "--json", check=False)
    assert as_json.returncode == 1
    assert shard.name in last_json(as_json)["damages"][0]
    assert last_json(as_json)["shards"] == 4


@pytest.mark.parametrize("by", ["repair", "extract"])
def test_only_what_the_shard_held_is_computed_again(
    damaged: tuple[Path, Path], sealed_often: Path, images: Path, by: str
) -> None:
    cache, shard = damaged
    others = {p: p.stat().st_mtime_ns for p in shard_paths(shard.parent) if p != shard}
    if by == "repair":
        (computed,) = repair(cache).computed.values()
    else:
        computed = extract_here(images, cache).computed
    assert computed == 8
    assert {p: p.stat().st_mtime_ns for p in others} == others
    assert verify(FeatureCache(cache)).damages == ()
    now, before = FeatureCache(cache).load(), FeatureCache(sealed_often).load()
    assert now.digests == before.digests
    # another batch size than that of the fixture: the last bits may differ
    np.testing.assert_allclose(now.X, before.X, rtol=1e-3, atol=1e-5)


def test_a_sound_cache_is_left_as_it_is(sealed_often: Path) -> None:
    before = {p: p.read_bytes() for p in sealed_often.rglob("*.h5") if p.name != "listing.h5"}
    assert set(repair(sealed_often).computed.values()) == {0}
    assert {p: p.read_bytes() for p in before} == before


def test_a_lost_recipe_file_is_taken_from_a_shard(damaged: tuple[Path, Path]) -> None:
    cache, _ = damaged
    (recipe,) = FeatureCache(cache).recipes
    (FeatureCache(cache).folders[0] / "recipe.json").unlink()
    repair(cache)
    assert FeatureCache(cache).recipes == (recipe,)
    assert verify(FeatureCache(cache)).damages == ()


def test_an_image_that_is_gone_is_said_to_be_gone(
    damaged: tuple[Path, Path], images: Path, tmp_path: Path
) -> None:
    cache, shard = damaged
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4  # mended, to see what it holds
    lost = set(read_shard_of(shard, bytes(content), tmp_path))
    listing = FeatureCache(cache).listing
    path = next(row.path for row in listing.ok if row.digest in lost)
    away = tmp_path / "away.jpg"
    (images / path).rename(away)
    try:
        repaired = repair(cache)
    finally:
        away.rename(images / path)
    assert repaired.failed == 1
    assert set(repaired.computed.values()) == {7}
    (row,) = FeatureCache(cache).listing.failed
    assert row.path == path
    assert "no such file" in row.reason


def read_shard_of(shard: Path, content: bytes, folder: Path) -> list[str]:
    copy = folder / shard.name
    copy.write_bytes(content)
    return read_shard(copy).digests


def test_other_weights_are_refused_and_nothing_is_lost(damaged: tuple[Path, Path]) -> None:
    cache, shard = damaged
    with pytest.raises(BottleneckError, match="random-1 are not those of"):
        repair(cache, weights="random-1")
    assert shard.exists()
    assert len(FeatureCache(cache).recipes) == 1
