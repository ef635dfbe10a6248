import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, advise
from bottleneck.cache.listing import Listing, read_listing, write_listing
from bottleneck.cache.recipe import RecipeFile, write_recipe
from bottleneck.cache.rows import Row
from bottleneck.cache.shard import write_shard
from tests.cache.test_recipe import RECIPE
from tests.commandline import Cli, last_json, one_line

TRAINED = dataclasses.replace(RECIPE, weights="imagenet")


def build(path: Path, strengths: dict[str, float], count: int = 600, classes: int = 3) -> Path:
    """Write a cache whose classes are separated by the given strength, for each tap."""
    rng = np.random.default_rng(0)
    digests = [f"{n:064x}" for n in rng.permutation(10**6)[:count]]
    y = np.arange(count) % classes
    for tap, strength in strengths.items():
        recipe = dataclasses.replace(TRAINED, tap=tap)
        folder = path / "features" / recipe.id
        folder.mkdir(parents=True)
        write_recipe(folder, RecipeFile(recipe, "imagenet", ()))
        X = rng.standard_normal((count, 20)) + strength * np.eye(classes, 20)[y]
        write_shard(folder, recipe, digests, np.zeros(count, np.uint16), X.astype(np.float32))
    rows = [Row(f"{n}.jpg", d, f"class {y[n]}", "train") for n, d in enumerate(digests)]
    write_listing(path, Listing(str(path), tuple(rows)))
    return path


def test_few_similar_images_call_for_a_head_on_a_frozen_base(tmp_path: Path) -> None:
    advice = advise(build(tmp_path, {"mixed10": 6, "mixed7": 2}))
    assert (advice.size, advice.likeness, advice.unfreeze_above) == ("small", "similar", None)
    assert advice.taps[0].tap == "mixed10"
    assert f"--recipe {advice.taps[0].recipe} --head logistic" in advice.command
    assert "leave the base frozen" in advice.say
    assert not advice.weak


def test_many_different_images_call_for_a_lower_tap_and_fine_tuning_above_it(
    tmp_path: Path,
) -> None:
    advice = advise(build(tmp_path, {"mixed10": 1, "mixed7": 4, "mixed4": 2}, count=3000))
    assert (advice.size, advice.likeness) == ("large", "different")
    assert advice.unfreeze_above == advice.taps[0].tap == "mixed7"
    assert "inception_v3-mixed7-" in advice.command
    assert (advice.images, advice.looked_at) == (3000, 2000)


def test_the_highest_tap_is_chosen_if_taps_do_not_differ_significantly(tmp_path: Path) -> None:
    """Eleven equal taps: the score of the best is optimistic, and the highest tap is chosen."""
    advice = advise(build(tmp_path, {f"mixed{n}": 1.5 for n in range(11)}))
    assert "inception_v3-mixed10-" in advice.command
    assert any("do not differ significantly" in reason for reason in advice.weak)


@pytest.mark.parametrize(
    ("strengths", "count", "reason"),
    [
        ({"mixed10": 3}, 600, "only one tap of inception_v3 is cached"),
        ({"mixed10": 1.5, "mixed9": 1}, 60, "the probe's accuracy is ± "),
    ],
)
def test_weak_evidence_is_called_weak(
    tmp_path: Path, strengths: dict[str, float], count: int, reason: str
) -> None:
    advice = advise(build(tmp_path, strengths, count))
    assert any(reason in weak for weak in advice.weak)


def test_the_same_cache_gives_the_same_advice(tmp_path: Path) -> None:
    cache = build(tmp_path, {"mixed10": 3, "mixed9": 2})
    assert advise(cache) == advise(cache)


def test_the_test_split_is_not_used(tmp_path: Path) -> None:
    cache = build(tmp_path, {"mixed10": 3, "mixed9": 3})
    listing = read_listing(cache)
    half = [row._replace(split="test") if n % 2 else row for n, row in enumerate(listing.rows)]
    write_listing(cache, Listing(listing.root, tuple(half)))
    before = advise(cache)
    assert before.images == 300
    # wrong labels there change nothing
    wrong = [row._replace(label="class 0") if row.split == "test" else row for row in half]
    write_listing(cache, Listing(listing.root, tuple(wrong)))
    assert advise(cache) == before


def test_the_command_shows_its_evidence(tmp_path: Path, cli: Cli) -> None:
    cache = build(tmp_path / "cache", {"mixed10": 6, "mixed7": 2})
    shown = cli("advise", cache)
    assert "small set, similar to the images the base was trained on" in shown.stdout
    assert shown.stdout.count("±") == 2
    assert "Next: bottleneck fit-head" in shown.stderr
    told = last_json(cli("advise", cache, "--json"))
    assert told["command"].split()[-1] == "logistic"


def test_caches_that_cannot_be_scored_are_errors(tmp_path: Path, cli: Cli) -> None:
    few = build(tmp_path / "few", {"mixed10": 3}, count=5)
    with pytest.raises(BottleneckError, match=r"class 'class .' has 1 images; expected at least 3"):
        advise(few)
    said = one_line(cli("advise", tmp_path / "none", check=False))
    assert "no cache at" in said
