import csv
import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import BottleneckError, compare, fit_head
from bottleneck.cache.store import FeatureCache
from bottleneck.evaluate.comparison import Comparison
from bottleneck.runs.metrics import METRICS
from bottleneck.runs.table import PREDICTIONS
from tests.cache.test_recipe import RECIPE
from tests.commandline import Cli, last_json
from tests.evaluate.synthetic import clusters, digest, three_splits, write_cache

WEAK = dataclasses.replace(RECIPE, tap="mixed1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes of the same images: one tells the classes apart, the other less."""
    path = tmp_path_factory.mktemp("compare") / "cache"
    X, y = clusters(300, 3)
    labels = [f"c{c}" for c in y]
    write_cache(path, X, labels, three_splits(300))
    blurred = X + 3 * np.random.default_rng(1).standard_normal(X.shape).astype(np.float32)
    other = write_cache(
        path.parent / "other", blurred[:280], labels[:280], three_splits(300)[:280], recipe=WEAK
    )
    assert FeatureCache(other).recipes == (WEAK,)
    return path


@pytest.fixture(scope="module")
def both(cache: Path) -> Comparison:
    return compare([cache, cache.parent / "other"], ["logistic"], learning_curve=True)


def test_every_entry_is_scored_on_the_images_that_all_caches_have(
    both: Comparison, cache: Path
) -> None:
    assert both.left_out == {str(cache): 20, str(cache.parent / "other"): 0}
    assert sum(both.images.values()) == 280
    assert [entry.name for entry in both.entries] == [
        "logistic on inception_v3-mixed10-avg-75",
        "logistic on inception_v3-mixed1-avg-75",
    ]


def test_better_features_win_and_the_summary_gives_the_difference(both: Comparison) -> None:
    best, other = both.entries
    assert best.scores["val"].against_best is None
    pair = other.scores["test"].against_best
    assert pair is not None
    assert pair.only_first > pair.only_second
    assert other.scores["test"].corrected_p < 0.05
    assert any(
        f"{best.name} is significantly better than {other.name}" in line for line in both.words
    )
    assert both.words[0].startswith(f"Best on {both.images['val']} validation images: {best.name}")


def test_heads_with_equal_predictions_do_not_differ_significantly(tmp_path: Path) -> None:
    X, y = clusters(90, 3)
    for name, recipe in (("one", RECIPE), ("two", WEAK)):
        write_cache(tmp_path / name, X, [f"c{c}" for c in y], three_splits(90), recipe=recipe)
    twin = compare([tmp_path / "one", tmp_path / "two"], ["logistic"])
    assert twin.entries[1].scores["test"].corrected_p == 1
    assert any(line.startswith("No significant difference between") for line in twin.words)


def test_learning_curves_rise_from_few_images_to_all(both: Comparison) -> None:
    for entry in both.entries:
        points = [point for point in both.curve if point.entry == entry.name]
        assert [point.images for point in points] == sorted(point.images for point in points)
        assert len(points) == 5
        assert points[-1].images == both.images["train"]
        assert points[-1].accuracy == entry.scores["val"].figures["accuracy"]
        assert points[0].accuracy.value < points[-1].accuracy.value


def test_a_point_missing_from_a_learning_curve_gives_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    X, y = clusters(60, 3)
    path = write_cache(tmp_path / "c", X, [f"c{c}" for c in y], three_splits(60))
    curve = compare(path, ["knn"], learning_curve=True).curve
    # five neighbours cannot be found among three images
    assert min(point.images for point in curve) >= 5
    (line,) = [r.getMessage() for r in caplog.records if "no point at 3 images" in r.getMessage()]
    assert line.startswith("The learning curve of knn has no point at 3 images: head knn cannot be")
    assert "\n" not in line


def test_the_same_seed_gives_the_same_table_twice(both: Comparison, cache: Path) -> None:
    again = compare([cache, cache.parent / "other"], ["logistic"], learning_curve=True)
    one, two = both.to_dict(), again.to_dict()
    assert one.pop("costs").keys() == two.pop("costs").keys()
    assert json.dumps(one) == json.dumps(two)


def test_the_test_split_is_not_used_for_any_choice(tmp_path: Path) -> None:
    """With the labels of the test split swapped, order, choices and validation scores stay."""
    X, y = clusters(200, 2)
    splits = three_splits(200)
    found = []
    for turned in (False, True):
        labels = [
            f"c{1 - c if turned and split == 'test' else c}"
            for c, split in zip(y, splits, strict=True)
        ]
        path = write_cache(tmp_path / str(turned), X, labels, splits)
        weaker = write_cache(tmp_path / f"{turned}-2", X[:, :6], labels, splits, recipe=WEAK)
        result = compare([path, weaker], ["logistic"]).to_dict()
        assert result["test_used_to_choose"] is False
        assert result["chosen_on"] == "val"
        found.append([(e["name"], e["params"], e["scores"]["val"]) for e in result["table"]])
    assert found[0] == found[1]


def test_without_a_test_split_the_summary_says_that_scores_are_optimistic(tmp_path: Path) -> None:
    X, y = clusters(60, 2, apart=9)
    path = write_cache(tmp_path / "c", X, [f"c{c}" for c in y], ["train", "train", "val"] * 20)
    found = compare(path, ["logistic"])
    assert found.judged_on == "val"
    assert "There is no test split" in found.words[-1]
    assert any(
        line.endswith("confidence bound of its error rate is 15.0 %.") for line in found.words
    )


def test_a_head_that_fails_is_a_row_with_its_reason(cache: Path, tmp_path: Path) -> None:
    """Two sources: vectors, and a recipe whose shards are gone."""
    path = tmp_path / "c"
    X, y = clusters(60, 2)
    splits = three_splits(60)
    write_cache(path, X, [f"c{c}" for c in y], splits)
    write_cache(tmp_path / "d", X, [f"c{c}" for c in y], splits, recipe=WEAK)
    for shard in (tmp_path / "d").rglob("shard-*.h5"):
        shard.unlink()
    found = compare([path, tmp_path / "d"], ["logistic"])
    assert [bool(entry.scores) for entry in found.entries] == [True, False]
    assert "60 of 60 images have no features" in found.entries[1].reason
    assert any("could not be fitted: 60 of 60" in line for line in found.words)
    assert len(found.to_records()) == 3


def test_features_of_two_recipes_are_concatenated(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    X, y = clusters(90, 3)
    labels, splits = [f"c{c}" for c in y], three_splits(90)
    write_cache(path, X[:, :12], labels, splits)
    other = write_cache(tmp_path / "d", X[:, 12:], labels, splits, recipe=WEAK)
    (other / "features" / WEAK.id).rename(path / "features" / WEAK.id)
    found = compare(path, ["logistic"], recipes=["mixed10", "mixed1", "mixed10+mixed1"])
    assert {len(entry.recipes) for entry in found.entries} == {1, 2}
    assert "logistic on inception_v3-mixed10-avg-75+inception_v3-mixed1-avg-75" in {
        entry.name for entry in found.entries
    }


def test_every_metric_has_an_interval_in_the_frame_and_the_csv(
    both: Comparison, tmp_path: Path
) -> None:
    frame = both.to_frame()
    assert list(frame["split"]) == ["val", "test"] * 2
    for name in METRICS:
        assert (frame[f"{name}_low"] <= frame[name]).all()
        assert (frame[name] <= frame[f"{name}_high"]).all()
    both.write_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [float(row["accuracy"]) for row in written] == list(frame["accuracy"])
    assert list(frame.columns)[-3:] == ["fit_seconds", "predict_microseconds", "bytes"]
    assert (frame["bytes"] > 1000).all()


def test_a_frame_without_pandas_is_a_clear_error(
    both: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BottleneckError, match=r"needs pandas.*pip install pandas"):
        both.to_frame()


def test_wrong_arguments_are_errors(cache: Path, tmp_path: Path) -> None:
    X, y = clusters(40, 2)
    far = write_cache(
        tmp_path / "far",
        X,
        [f"c{c}" for c in y],
        ["train", "val"] * 20,
        digests=[digest(n + 10_000) for n in range(40)],
    )
    for arguments, options, message in [
        ((cache, ["logistik"]), {}, "did you mean logistic"),
        ((cache, []), {}, "at least one cache, and one head with --heads or a run with --run"),
        ((cache, ["logistic"]), {"recipes": ["mixed99"]}, "no recipe 'mixed99'"),
        (([cache, far], ["logistic"]), {}, "no labelled image in common"),
        ((cache, ["logistic"]), {"top_k": 4}, "from 1 to 3, not 4"),
        ((cache, ["logistic"]), {"report": tmp_path / "no" / "r.html"}, "--report"),
    ]:
        with pytest.raises(BottleneckError, match=message):
            compare(*arguments, **options)


def test_the_command_prints_the_result_of_the_library_as_one_json_object(
    cache: Path, cli: Cli, tmp_path: Path
) -> None:
    told = cli("compare", cache, "--heads", "logistic", "--json", "--out", tmp_path / "t.csv")
    found = last_json(told)
    assert (tmp_path / "t.csv").exists()
    assert found["best"] == "logistic"
    assert found["findings"].keys() == {"warnings", "duplicates", "suspects"}
    library = bottleneck.compare(cache, ["logistic"]).to_dict()
    del found["costs"], library["costs"]
    assert found == json.loads(json.dumps(library))


def test_names_that_are_not_valid_text_are_printed_safely(tmp_path: Path, cli: Cli) -> None:
    X, y = clusters(60, 2)
    labels = [f"c{c}\udcff\x1b[31m" for c in y]
    X[1] = X[0]  # with another label: a warning that names both
    path = write_cache(tmp_path / "c", X, labels, three_splits(60))
    told = cli("compare", path, "--heads", "logistic", "--out", tmp_path / "t.csv")
    assert "(c0\ufffd\ufffd[31m)" in told.stderr
    assert "\x1b" not in told.stderr + told.stdout
    # the table, each figure above its interval, and the words
    assert re.search(r"logistic val +[01]\.\d{3} .*\n +1?\.\d{3}–", told.stdout)
    assert "Best on 12 validation images: logistic." in told.stdout


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    """A head fitted on the cache of two recipes, before it is compared."""
    return fit_head(cache, "logistic", out=cache.parent / "runs" / "first").path


def copied(run: Path, place: Path, old: str, new: str, file: str = PREDICTIONS) -> Path:
    """Copy a run and change its file as if it had been fitted on other images."""
    shutil.copytree(run, place)
    text = (place / file).read_text()
    changed = re.sub(old, new, text, flags=re.MULTILINE)
    assert changed != text
    (place / file).write_text(changed)
    return place


def test_a_saved_run_has_the_same_scores_as_its_head_fitted_again(cache: Path, run: Path) -> None:
    found = compare(cache, ["logistic", "centroid"], runs=[run])
    by_name = {entry.name: entry for entry in found.entries}
    assert by_name.keys() == {"logistic", "centroid", "first"}
    earlier, now = by_name["first"], by_name["logistic"]
    assert (earlier.run, now.run) == (str(run), "")
    assert earlier.head == "logistic"
    assert earlier.recipes == now.recipes
    for split in ("val", "test"):
        assert earlier.scores[split].figures == now.scores[split].figures
        # each against the best, and the same number of tests to correct for
        assert (found.best.name == "first") == (earlier.scores[split].against_best is None)
        assert (found.best.name == "logistic") == (now.scores[split].against_best is None)
    assert earlier.costs is None
    assert now.costs is not None
    assert not any("Not fitted on exactly" in line for line in found.findings.warnings)
    records = [record for record in found.to_records() if record["entry"] == "first"]
    assert [record["split"] for record in records] == ["val", "test"]
    assert records[0]["run"] == str(run)
    assert records[0]["fit_seconds"] is None
    assert found.to_dict()["costs"]["first"] is None


def test_runs_alone_are_compared_and_reported_without_fitting_anything(
    cache: Path, run: Path, tmp_path: Path, cli: Cli
) -> None:
    other = fit_head(cache, "centroid", out=tmp_path / "first").path  # a folder of the same name
    options = ("--run", run, "--run", other, "--run", run)
    report, table = tmp_path / "report.html", tmp_path / "t.csv"
    told = cli(
        "compare", cache, "--heads", "", *options, "--report", report, "--out", table, "--json"
    )
    found = last_json(told)
    heads = {entry["name"]: entry["head"] for entry in found["table"]}
    assert heads == {str(run): "logistic", str(other): "centroid"}
    page = report.read_text()
    assert "Accuracy against time to fit" not in page
    assert "Images with similar features" in page
    with table.open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [row["fit_seconds"] for row in written] == [""] * 4
    curve = compare(cache, ["centroid"], runs=[run], learning_curve=True).curve
    assert {point.entry for point in curve} == {"centroid"}


def test_a_run_fitted_on_other_images_is_a_row_with_its_reason(
    cache: Path, run: Path, tmp_path: Path
) -> None:
    table = (run / PREDICTIONS).read_text()
    judged = re.findall(r"^(\d+\.jpg),(c\d),(val|test)", table, re.MULTILINE)
    path, label, split = judged[0]
    other = next(name for name in ("c0", "c1", "c2") if name != label)
    gone = copied(run, tmp_path / "gone", rf"^{path},.*\n", "")
    trained = copied(
        run, tmp_path / "trained", rf"^{path},{label},{split}", f"{path},{label},train"
    )
    relabelled = copied(run, tmp_path / "relabelled", rf"^{path},{label}", f"{path},{other}")
    damaged = copied(run, tmp_path / "damaged", r"\d$", "nan")
    classes = copied(run, tmp_path / "classes", '"c2"', '"d2"', "run.json")
    untold = shutil.copytree(run, tmp_path / "untold")
    (untold / PREDICTIONS).unlink()
    for number, (folder, message) in enumerate(
        [
            (
                gone,
                rf"1 of {len(judged)} images in val and test are not in its predictions.csv \({path}\)",
            ),
            (
                trained,
                rf"1 of {len(judged)} images in val and test are in another split there \({path}\)",
            ),
            (relabelled, rf"1 of {len(judged)} images .* under another label there \({path}\)"),
            (damaged, "predictions.csv is damaged"),
            (
                classes,
                r"its classes are different: 1 only in the run \(d2\), 1 only in the comparison \(c2\)",
            ),
            (untold, r"no .*predictions\.csv"),
        ]
    ):
        found = (
            compare(cache, [], runs=[run, folder])
            if number
            else compare(cache, ["centroid"], runs=[folder])
        )
        entry = found.entries[-1]
        assert (entry.name, dict(entry.scores)) == (folder.name, {})
        assert re.search(message, entry.reason)
        assert "bottleneck fit-head" in entry.reason
        assert "\n" not in entry.reason
        assert any(f"{folder.name} could not be compared" in line for line in found.words)
    with pytest.raises(
        BottleneckError, match=r"none of 2 entries can be compared; the first: 1 of"
    ):
        compare(cache, [], runs=[gone, trained])


def test_the_error_for_a_run_with_another_split_seed_names_that_seed(tmp_path: Path) -> None:
    X, y = clusters(90, 3)
    cache = write_cache(tmp_path / "c", X, [f"c{c}" for c in y], [None] * 90)
    run = fit_head(cache, "centroid", seed=5, out=tmp_path / "run").path
    with pytest.raises(BottleneckError, match="compare with --seed 5"):
        compare(cache, [], runs=[run])
    assert compare(cache, [], runs=[run], seed=5).best.name == "run"


def test_a_run_fitted_on_more_images_is_compared_with_a_warning(cache: Path, run: Path) -> None:
    found = compare([cache, cache.parent / "other"], ["centroid"], runs=[run])
    assert next(entry for entry in found.entries if entry.name == "first").scores
    (said,) = (line for line in found.findings.warnings if "Not fitted on exactly" in line)
    assert str(run) in said


def test_a_run_with_classes_in_another_order_has_the_same_scores(
    cache: Path, run: Path, tmp_path: Path
) -> None:
    turned = shutil.copytree(run, tmp_path / "turned")
    content = json.loads((turned / "run.json").read_text())
    content["classes"] = content["classes"][::-1]
    (turned / "run.json").write_text(json.dumps(content))
    with (turned / PREDICTIONS).open(newline="") as lines:
        table = [[*line[:5], *line[:4:-1]] for line in csv.reader(lines)]
    with (turned / PREDICTIONS).open("w", newline="") as lines:
        csv.writer(lines).writerows(table)
    one, two = compare(cache, [], runs=[run, turned]).entries
    assert one.scores["val"].figures == two.scores["val"].figures


def test_a_missing_run_is_an_error_before_anything_is_fitted(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BottleneckError, match=r"no run at .*nowhere"):
        compare(cache, ["logistic"], runs=[tmp_path / "nowhere"])
