import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, FeatureCache, fit_head, predict
from bottleneck.runs.run import read_run
from tests.pictures import extract_here


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_run_holds_all_that_is_needed_to_repeat_it(cache: Path, tmp_path: Path) -> None:
    first = fit_head(cache, "logistic", seed=3, params={"max_iter": 50}, out=tmp_path / "one")
    run = json.loads((tmp_path / "one" / "run.json").read_text())
    params = {name: value for name, value in run["params"].items() if name != "chosen" and value}
    again = fit_head(
        run["cache"], run["head"], seed=run["seed"], params=params, out=tmp_path / "two"
    )
    assert again.run.metrics == first.run.metrics
    assert again.run.data_digest == run["data_digest"]
    one, two = (tmp_path / name / "predictions.csv" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert run["versions"].keys() >= {
        "python",
        "bottleneck-features",
        "numpy",
        "scikit-learn",
        "keras",
    }
    assert run["recipes"][0]["weights_digest"] == FeatureCache(cache).recipes[0].weights_digest


def test_the_run_reads_back_as_it_was_written(cache: Path, tmp_path: Path) -> None:
    fitted = fit_head(cache, out=tmp_path / "run")
    assert read_run(tmp_path / "run") == fitted.run


def test_metrics_agree_with_the_predictions_written_beside_them(
    cache: Path, tmp_path: Path
) -> None:
    run = fit_head(cache, out=tmp_path / "run").run
    rows = rows_of(tmp_path / "run")
    assert len(rows) == 40
    for split, metrics in run.metrics.items():
        part = [row for row in rows if row["split"] == split]
        right = [row["prediction"] == row["label"] for row in part]
        assert metrics.images == len(part)
        assert metrics.accuracy == pytest.approx(np.mean(right))
        loss = [-np.log(float(row[row["label"]])) for row in part]
        assert metrics.log_loss == pytest.approx(np.mean(loss), abs=1e-4)
    for row in rows:
        probabilities = {name: float(row[name]) for name in run.classes}
        assert row["prediction"] == max(probabilities, key=probabilities.__getitem__)
        assert float(row["confidence"]) == max(probabilities.values())


def test_the_split_by_digest_is_told_and_keeps_duplicates_on_one_side(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    doubled = shutil.copytree(images, tmp_path / "images")
    for file in list(doubled.rglob("*.jpg")):
        shutil.copy(file, file.with_name(f"copy of {file.name}"))
    copy = shutil.copytree(cache, tmp_path / "cache")
    assert extract_here(doubled, copy).computed == 0
    run = fit_head(copy, out=tmp_path / "run").run
    assert run.split == "digest"
    split_of = {row["path"]: row["split"] for row in rows_of(tmp_path / "run")}
    assert len(split_of) == 80
    for path, split in split_of.items():
        assert split_of[path.replace("copy of ", "")] == split


def test_the_test_split_has_no_part_in_what_is_chosen(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    """Labels of the test split turned round: the same head comes out."""
    csv_file = tmp_path / "set.csv"
    files = sorted(path.relative_to(images) for path in images.rglob("*.jpg"))
    split = ["train", "train", "val", "test"]
    copy = shutil.copytree(cache, tmp_path / "cache")
    chosen = []
    for turned in (False, True):
        lines = ["path,label,split"]
        for number, file in enumerate(files):
            part = split[number % 4]
            label = (
                "temple"
                if (file.parent.name == "temple") != (turned and part == "test")
                else "flower"
            )
            lines.append(f"{file},{label},{part}")
        csv_file.write_text("\n".join(lines))
        extract_here(csv_file, copy, root=images)
        for head in ("logistic", "softmax"):
            fitted = fit_head(copy, head, out=tmp_path / f"{head}-{turned}")
            p = [row["temple"] for row in rows_of(fitted.path)]
            chosen.append((head, fitted.run.params["chosen"], p))
    assert chosen[:2] == chosen[2:]


@pytest.mark.parametrize("head", ["logistic", "softmax"])
def test_features_that_do_not_fit_into_memory_give_the_same_head(
    cache: Path, tmp_path: Path, head: str
) -> None:
    within = fit_head(cache, head, out=tmp_path / "within")
    beyond = fit_head(cache, head, out=tmp_path / "beyond", memory=0)
    assert beyond.run.metrics == within.run.metrics
    assert beyond.run.params == within.run.params


def test_unnamed_runs_are_numbered_and_none_is_overwritten(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [str(fit_head(cache).path) for _ in range(3)]
    assert paths == ["runs/cache-logistic", "runs/cache-logistic-2", "runs/cache-logistic-3"]
    with pytest.raises(BottleneckError, match="exists already and a run is never overwritten"):
        fit_head(cache, out=paths[0])


def test_nothing_is_left_of_a_fit_that_failed(cache: Path, tmp_path: Path) -> None:
    listing = FeatureCache(cache).listing
    assert len(listing.ok) == 40
    with pytest.raises(BottleneckError, match="unknown head"):
        fit_head(cache, "forest", out=tmp_path / "run")
    with pytest.raises(BottleneckError, match="no recipe"):
        fit_head(cache, recipe="vgg16", out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_features_of_several_taps_are_fitted_and_served_side_by_side(
    images: Path, few_images: Path, tmp_path: Path
) -> None:
    report = extract_here(images, tmp_path / "cache", tap=["mixed1", "mixed4"])
    low, high = report.recipes
    both = fit_head(tmp_path / "cache", recipes=[low, high], out=tmp_path / "both")
    assert [recipe.tap for recipe in both.run.recipes] == ["mixed1", "mixed4"]
    assert read_run(tmp_path / "both") == both.run
    alone = fit_head(tmp_path / "cache", recipe=low, out=tmp_path / "alone")
    assert both.run.metrics["train"].log_loss != alone.run.metrics["train"].log_loss
    # without a cache both are computed in one pass, and give what the fit gave
    fitted = {row["path"]: float(row["temple"]) for row in rows_of(tmp_path / "both")}
    served = predict(tmp_path / "both", images)
    for path, p in zip(served.paths, served.probabilities, strict=True):
        assert p[served.classes.index("temple")] == pytest.approx(fitted[path], abs=1e-4)


def test_features_of_several_bases_are_served_too(few_images: Path, tmp_path: Path) -> None:
    ids = [
        extract_here(few_images, tmp_path / "cache", base=base, image_size=75).recipes[0]
        for base in ("inception_v3", "mobilenet_0.25")
    ]
    run = fit_head(tmp_path / "cache", recipes=ids, out=tmp_path / "run").run
    assert run.weights_paths == ("random-0", "random-0")
    served = predict(tmp_path / "run", few_images)
    cached = predict(tmp_path / "run", few_images, cache=tmp_path / "cache")
    np.testing.assert_allclose(served.probabilities, cached.probabilities, atol=1e-4)


def test_views_are_fitted_on_and_averaged_over(few_images: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (recipe,) = extract_here(
        few_images, cache, base="mobilenet_0.25", views=3, augment="flip,rotate=20"
    ).recipes
    fits = {}
    for trained, averaged in [(None, 1), (1, 1), (2, 1), (None, 4)]:
        out = tmp_path / f"{trained}-{averaged}"
        fits[trained, averaged] = fit_head(
            cache, recipe=recipe, train_views=trained, predict_views=averaged, out=out
        )
    assert fits[None, 1].run.train_views == 4
    losses = [fitted.run.metrics["val"].log_loss for fitted in fits.values()]
    assert len(set(losses)) == 4
    plain = next(r.id for r in FeatureCache(cache).recipes if r.augmentation == "none")
    alone = fit_head(cache, recipe=plain, out=tmp_path / "plain")
    assert alone.run.metrics == fits[1, 1].run.metrics
    with pytest.raises(BottleneckError, match="no view 4 under"):
        fit_head(cache, recipe=recipe, predict_views=5, out=tmp_path / "five")
    # pictures nobody has seen: their views are computed, the same as in the cache
    served = predict(tmp_path / "None-4", few_images)
    fitted = {row["path"]: float(row["temple"]) for row in rows_of(tmp_path / "None-4")}
    for path, p in zip(served.paths, served.probabilities, strict=True):
        assert p[served.classes.index("temple")] == pytest.approx(fitted[path], abs=1e-4)


def test_maps_are_taken_too(few_images: Path, tmp_path: Path) -> None:
    extract_here(few_images, tmp_path / "cache", tap="mixed7", pool="none")
    assert fit_head(tmp_path / "cache", out=tmp_path / "run").run.metrics["train"].images == 4
