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
    """Write a cache of pictures whose classes lie so far apart, tap by tap."""
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


def test_few_pictures_like_those_the_base_knows_call_for_a_head_alone(tmp_path: Path) -> None:
    advice = advise(build(tmp_path, {"mixed10": 6, "mixed7": 2}))
    assert (advice.size, advice.likeness, advice.unfreeze_above) == ("small", "similar", None)
    assert advice.taps[0].tap == "mixed10"
    assert f"--recipe {advice.taps[0].recipe} --head logistic" in advice.command
    assert "leave the base alone" in advice.say
    assert not advice.weak


def test_many_pictures_of_another_kind_call_for_a_lower_tap_and_unfreezing_above_it(
    tmp_path: Path,
) -> None:
    advice = advise(build(tmp_path, {"mixed10": 1, "mixed7": 4, "mixed4": 2}, count=3000))
    assert (advice.size, advice.likeness) == ("large", "different")
    assert advice.unfreeze_above == advice.taps[0].tap == "mixed7"
    assert "inception_v3-mixed7-" in advice.command
    assert (advice.images, advice.looked_at) == (3000, 2000)


def test_taps_that_differ_by_chance_only_are_not_told_apart(tmp_path: Path) -> None:
    """Eleven equal taps: the best of them flatters itself, and the highest is taken."""
    advice = advise(build(tmp_path, {f"mixed{n}": 1.5 for n in range(11)}))
    assert "inception_v3-mixed10-" in advice.command
    assert any("do not differ beyond chance" in doubt for doubt in advice.weak)


@pytest.mark.parametrize(
    ("strengths", "count", "doubt"),
    [
        ({"mixed10": 3}, 600, "only one tap of inception_v3 is cached"),
        ({"mixed10": 1.5, "mixed9": 1}, 60, "known to ± "),
    ],
)
def test_weak_evidence_is_called_weak(
    tmp_path: Path, strengths: dict[str, float], count: int, doubt: str
) -> None:
    advice = advise(build(tmp_path, strengths, count))
    assert any(doubt in weak for weak in advice.weak)


def test_the_same_cache_gives_the_same_advice(tmp_path: Path) -> None:
    cache = build(tmp_path, {"mixed10": 3, "mixed9": 2})
    assert advise(cache) == advise(cache)


def test_the_test_split_is_not_looked_at(tmp_path: Path) -> None:
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
    assert "small set. Similar to what the base was trained on" in shown.stdout
    assert shown.stdout.count("±") == 2
    assert "Next: bottleneck fit-head" in shown.stderr
    told = last_json(cli("advise", cache, "--json"))
    assert told["command"].split()[-1] == "logistic"


def test_what_cannot_be_judged_is_said(tmp_path: Path, cli: Cli) -> None:
    few = build(tmp_path / "few", {"mixed10": 3}, count=5)
    with pytest.raises(BottleneckError, match=r"class 'class .' has 1 images, and .* takes 3"):
        advise(few)
    said = one_line(cli("advise", tmp_path / "none", check=False))
    assert "no cache at" in said
