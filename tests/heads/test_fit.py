import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, FeatureCache, fit_head, predict
from bottleneck.heads.registry import HEADS
from bottleneck.runs.run import read_run
from tests.commandline import Cli, last_json, one_line
from tests.heads.blobs import blobs, write_blobs, write_cache
from tests.pictures import extract_here

# clouds need no great machinery
SHORT: dict[str, dict[str, object]] = {
    "softmax": {"epochs": 10, "learning_rate": 0.1},
    "dense": {"epochs": 2, "hidden": [8]},
    "boosting": {"max_iter": 5},
    "forest": {"n_estimators": 10},
    "extra-trees": {"n_estimators": 10},
}


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
        fit_head(cache, "stump", out=tmp_path / "run")
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


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused_by_the_picture(
    tmp_path: Path, broken: float
) -> None:
    sample = blobs(12, 1)
    for number, split in ((3, "train"), (7, "val"), (11, "test")):
        X = sample.X.copy()
        X[number, 5] = broken
        cache = write_cache(
            tmp_path / split, X, sample.y, ["train"] * 6 + ["val"] * 3 + ["test"] * 3
        )
        for head in ("logistic", "forest"):  # and the test split is read only once it is fitted
            with pytest.raises(BottleneckError, match=rf"'{number:05d}.jpg' hold NaN.* --dtype"):
                fit_head(cache, head, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_image_of_each_class_is_fitted_or_refused_in_one_line(tmp_path: Path) -> None:
    X, y = blobs(30, 1).X, np.arange(30) % 3
    cache = write_cache(tmp_path / "c", X, y, ["train"] * 3 + ["val"] * 27)
    refused = {}
    for head in HEADS:
        params = SHORT.get(head, {})
        if head == "conv":
            continue
        try:
            run = fit_head(cache, head, out=tmp_path / head, params=params).run
        except BottleneckError as error:
            refused[head] = str(error)
        else:
            assert run.metrics["train"].images == 3
    assert set(refused) == {"knn", "lda", "centroid"}
    for head, said in refused.items():
        assert said.startswith(f"head {head} cannot be fitted on these features: ")
        assert "\n" not in said
    assert fit_head(cache, "knn", params={"n_neighbors": 1}, out=tmp_path / "one").path.exists()


@pytest.mark.parametrize("head", ["logistic", "svm", "boosting", "sgd", "softmax"])
def test_a_class_that_is_not_validated_is_told_of_and_can_be_predicted(
    tmp_path: Path, head: str, caplog: pytest.LogCaptureFixture
) -> None:
    sample = blobs(90, 1)
    splits = ["val" if n % 3 == 0 and code else "train" for n, code in enumerate(sample.y)]
    cache = write_cache(tmp_path / "c", sample.X, sample.y, splits)
    fitted = fit_head(cache, head, out=tmp_path / "run", params=SHORT.get(head, {}))
    assert "val has no images of 1 of 3 classes: class 0" in caplog.text
    assert {row["prediction"] for row in rows_of(fitted.path)} == {"class 0", "class 1", "class 2"}


def test_one_class_only_is_refused(tmp_path: Path, cli: Cli) -> None:
    cache = write_cache(tmp_path / "c", blobs(9, 1).X, np.zeros(9, np.int64), [None] * 9)
    said = one_line(cli("fit-head", cache, "--head", "dense", check=False, cwd=tmp_path))
    assert "needs images of two classes or more, found 1 (class 0)" in said


def test_convolutions_take_maps_and_other_heads_flatten_them(
    few_images: Path, tmp_path: Path, cli: Cli
) -> None:
    quick = {"base": "mobilenet_0.25", "image_size": 64}
    extract_here(few_images, tmp_path / "maps", pool="none", **quick)
    said = "takes maps, .* vectors of 20; .* bottleneck extract --pool none"
    with pytest.raises(BottleneckError, match=said):
        fit_head(write_blobs(tmp_path / "vectors"), "conv", out=tmp_path / "conv")
    shape = ["--filters", 6, "--kernel", 2, "--hidden", 5, "--hidden", 4, "--dropout", 0.1]
    options = [*shape, "--class-weight", "balanced", "--param", "epochs=2"]
    cli("fit-head", tmp_path / "maps", "--head", "conv", *options, "--out", tmp_path / "conv")
    params = read_run(tmp_path / "conv").params
    asked = {"filters": [6], "kernel": 2, "hidden": [5, 4], "dropout": 0.1, "epochs": 2}
    assert asked.items() <= params.items()
    assert params["class_weight"] == "balanced"
    fit_head(tmp_path / "maps", "ridge", out=tmp_path / "ridge")
    for head in ("conv", "ridge"):
        fitted = {row["path"]: float(row["temple"]) for row in rows_of(tmp_path / head)}
        served = predict(tmp_path / head, few_images)
        for path, p in zip(served.paths, served.probabilities, strict=True):
            assert p[served.classes.index("temple")] == pytest.approx(fitted[path], abs=1e-4)


def test_a_cache_larger_than_memory_is_streamed(tmp_path: Path) -> None:
    """The process never has half of what the features take, besides what the system can take back."""
    count, width = 12_000, 2048
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    X = rng.standard_normal((count, width), np.float32)
    X += 0.1 * rng.standard_normal((3, width), np.float32)[y]
    write_cache(tmp_path / "large", X, y, (["train"] * 5 + ["val"]) * (count // 6))
    code = (
        "import threading, time\n"
        "from pathlib import Path\n"
        "from bottleneck import fit_head\n"
        "def taken():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) << 10 for line in lines if line.startswith('RssAnon'))\n"
        "def watch():\n"
        "    global peak\n"
        "    while True: peak = max(peak, taken()); time.sleep(0.005)\n"
        "peak = 0\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "def more(name, params, memory):\n"
        "    global peak\n"
        "    params, out = params | {'epochs': 1}, f'{name}-{memory}'\n"
        "    fit_head('small', name, params=params, out=f'small-{out}')\n"  # all that is loaded once
        "    before = peak = taken()\n"
        "    run = fit_head('large', name, params=params, memory=memory, out=f'large-{out}').run\n"
        "    assert run.metrics['val'].accuracy > 0.5, run.metrics\n"
        "    return peak - before\n"
        "print(more('softmax', {'batch_size': 512}, 10 << 20))\n"
        "print(more('dense', {'hidden': [16], 'batch_size': 512}, 10 << 20))\n"
        "print(more('sgd', {}, 10 << 20))\n"
        "print(more('sgd', {}, 1 << 40))\n"
    )
    write_blobs(tmp_path / "small")
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    *streamed, within = map(int, process.stdout.split())
    assert max(streamed) < X.nbytes / 2
    assert within > X.nbytes  # what is measured is what was meant


def test_a_head_that_cannot_stream_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = write_blobs(tmp_path / "c")
    fit_head(cache, "sgd", memory=0, out=tmp_path / "sgd", params={"epochs": 1})
    assert "takes them all at once" not in caplog.text
    fit_head(cache, "ridge", memory=0, out=tmp_path / "ridge")
    assert "head ridge takes them all at once" in caplog.text
    assert "softmax, dense, conv, sgd" in caplog.text


def test_a_scikit_learn_classifier_is_named_by_its_path(tmp_path: Path, cli: Cli) -> None:
    cache = write_blobs(tmp_path / "c")
    head = "sklearn.neural_network.MLPClassifier"
    options = ["--head", head, "--param", "alpha=0.01", "--param", "max_iter=50", "--json"]
    run = last_json(cli("fit-head", cache, *options, cwd=tmp_path))
    assert run["path"] == f"runs/c-{head}"
    assert (run["params"]["alpha"], run["params"]["solver"]) == (0.01, "adam")
    said = one_line(
        cli("fit-head", cache, "--head", head, "--param", "alpa=1", check=False, cwd=tmp_path)
    )
    assert f"head {head} has no parameter 'alpa' (did you mean alpha?)" in said
