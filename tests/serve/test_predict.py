import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, FeatureCache, fit_head, predict
from tests.commandline import Cli, last_json, one_line


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_head(cache, out=tmp_path_factory.mktemp("runs") / "run").path


def test_new_images_are_classified(run: Path, few_images: Path) -> None:
    """Other parts of the two photographs than the run was fitted on."""
    predictions = predict(run, few_images)
    shown = [Path(path).parent.name for path in predictions.paths]
    assert list(predictions.names) == shown
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)


def test_predictions_on_the_training_images_are_those_of_the_fit(
    run: Path, images: Path, cache: Path
) -> None:
    with (run / "predictions.csv").open(newline="") as lines:
        fitted = {row["path"]: float(row["temple"]) for row in csv.DictReader(lines)}
    predictions = predict(run, images)
    for path, p in zip(predictions.paths, predictions.probabilities, strict=True):
        assert p[predictions.classes.index("temple")] == pytest.approx(fitted[path], abs=1e-4)


def test_a_cache_is_used_and_added_to_and_its_listing_stays(
    run: Path, few_images: Path, cache: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(cache, tmp_path / "cache")
    before = FeatureCache(own).listing
    first = predict(run, few_images, cache=own)
    assert FeatureCache(own).listing == before
    shutil.move(few_images, tmp_path / "away")
    try:
        assert shutil.copytree(tmp_path / "away", few_images).exists()
        second = predict(run, few_images, cache=own, weights="no such weights")  # never looked for
    finally:
        shutil.rmtree(few_images)
        shutil.move(tmp_path / "away", few_images)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_the_table_has_a_row_for_every_image_in_order(
    run: Path, few_images: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = shutil.copytree(few_images, tmp_path / "images")
    (folder / "train/flower/broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    cli("predict", run, folder, "--out", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["path", "prediction", "confidence", "flower", "temple", "reason"]
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    assert [row["path"] for row in rows] == files
    for row in rows:
        if "broken" in row["path"]:
            assert row["prediction"] == row["confidence"] == row["flower"] == ""
            assert row["reason"]
        else:
            assert row["reason"] == ""
            assert float(row[row["prediction"]]) == float(row["confidence"]) >= 0.5


def test_without_a_file_the_table_goes_to_stdout_and_json_is_one_object(
    run: Path, few_images: Path, few_cache: Path, cache: Path, tmp_path: Path, cli: Cli
) -> None:
    own = shutil.copytree(few_cache, tmp_path / "cache")
    table = cli("predict", run, few_images, "--cache", own).stdout.splitlines()
    assert table[0] == "path,prediction,confidence,flower,temple,reason"
    assert len(table) == 7
    content = last_json(cli("predict", run, few_images, "--cache", own, "--json"))
    assert [p["prediction"] for p in content["predictions"]] == [
        line.split(",")[1] for line in table[1:]
    ]


def test_one_image_is_enough(run: Path, few_images: Path) -> None:
    predictions = predict(run, few_images / "val/temple/00.jpg")
    assert predictions.names == ("temple",)


def test_a_folder_of_unreadable_images_gives_rows_and_no_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("nonsense")
    predictions = predict(run, tmp_path)
    assert predictions.names == (None,)
    assert np.isnan(predictions.probabilities).all()


def test_other_weights_are_refused(run: Path, few_images: Path, cli: Cli) -> None:
    said = one_line(cli("predict", run, few_images, "--weights", "random-1", check=False))
    assert "the weights random-1 are not those of" in said
    assert "--weights" in said


def test_weights_that_are_gone_are_asked_for(run: Path, few_images: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    content = json.loads((moved / "run.json").read_text())
    content["weights_paths"] = ["/gone/x.weights.h5"]
    (moved / "run.json").write_text(json.dumps(content))
    with pytest.raises(BottleneckError, match=r"/gone/x.weights.h5.*--weights"):
        predict(moved, few_images)
    assert predict(moved, few_images, weights="random-0").names[0] == "flower"


def test_a_damaged_cache_is_left_to_repair(
    run: Path, few_images: Path, cache: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(cache, tmp_path / "cache")
    (shard,) = own.rglob("shard-*.h5")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BottleneckError, match=f"{shard.name} is damaged.*bottleneck cache repair"):
        predict(run, few_images, cache=own)
    assert list(own.rglob("shard-*.h5")) == [shard]
