"""`bottleneck cache …` on a real cache: what is printed, and its JSON."""

import shutil
from pathlib import Path

import pytest

from bottleneck import FeatureCache
from tests.commandline import Cli, last_json
from tests.pictures import extract_here


@pytest.fixture
def own(few_images: Path, few_cache: Path, tmp_path: Path) -> Path:
    return shutil.copytree(few_cache, tmp_path / "cache")


def test_info_shows_images_classes_and_recipes(own: Path, cli: Cli) -> None:
    shown = cli("cache", "info", own).stdout
    assert "6 images of" in shown
    assert "flower 3, temple 3" in shown
    assert "train 4, val 2" in shown
    assert FeatureCache(own).recipes[0].id in shown
    content = last_json(cli("cache", "info", own, "--json"))
    assert content["ok"] == 6
    assert content["recipes"][0]["rows"] == 6


def test_verify_accepts_an_intact_cache(own: Path, cli: Cli) -> None:
    assert (
        "1 shards with 6 rows are intact; 0 files are damaged" in cli("cache", "verify", own).stdout
    )


def test_explain_shows_how_recipes_differ(own: Path, few_images: Path, cli: Cli) -> None:
    alone = cli("cache", "explain", own).stdout
    assert "weights random-0" in alone
    extract_here(few_images, own, seed=1)
    lines = cli("cache", "explain", own).stdout.splitlines()
    told = sorted(line.split(": ")[1].split(", ")[0] for line in lines)
    assert told == ["weights random-0", "weights random-1"]
    assert last_json(cli("cache", "explain", own, "--json"))["differ_in"] == [
        "weights",
        "weights_digest",
    ]


def test_explain_shows_an_image(own: Path, cli: Cli) -> None:
    shown = cli("cache", "explain", own, "train/temple/01.jpg").stdout
    assert "'train/temple/01.jpg': ok" in shown
    assert "label temple, split train" in shown
    assert f"{FeatureCache(own).recipes[0].id}: shard-" in shown
    content = last_json(cli("cache", "explain", own, "train/temple/01.jpg", "--json"))
    assert content["images"][0]["features"][0]["view"] == 0


def test_prune_shows_with_dry_run_and_removes_without(
    own: Path, few_images: Path, tmp_path: Path, cli: Cli
) -> None:
    some = shutil.copytree(few_images, tmp_path / "images")
    shutil.rmtree(some / "val")
    extract_here(some, own)
    assert cli("cache", "prune", own, "--dry-run").stdout.startswith("Would remove 2 rows")
    assert last_json(cli("cache", "prune", own, "--json"))["rows"] == 2
    assert len(FeatureCache(own).load().paths) == 4


def test_repair_reports_what_it_recomputed(own: Path, cli: Cli) -> None:
    (shard,) = own.rglob("shard-*.h5")
    shard.unlink()
    said = cli("cache", "verify", own).stdout
    assert "lacks features of 6 of 6 images" in said
    assert "6 images recomputed" in cli("cache", "repair", own).stdout
    assert len(FeatureCache(own).load().paths) == 6
