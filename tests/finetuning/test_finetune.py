"""From a head on cached features to a network that is trained too."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bottleneck
from bottleneck import FeatureCache
from bottleneck.bases.backend import load_keras
from bottleneck.cache.shard import shard_paths, write_shard
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.finder import find_rate
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.fit import FittedRun
from bottleneck.runs.run import HEAD, TUNED, read_run
from tests.commandline import Cli, last_json, one_line
from tests.extraction.test_crash import small_disk
from tests.finetuning.conftest import BASE
from tests.pictures import extract_here


def history(path: Path) -> list[dict[str, str]]:
    with (path / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


def losses(path: Path) -> list[float]:
    return [float(epoch["loss"]) for epoch in history(path)[1:]]


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    model = load_keras().models.load_model(path / "model.keras", safe_mode=True)
    return {variable.path: np.asarray(variable) for variable in model.variables}


def test_live_and_cached_training_give_the_same_losses(
    small_run: Path, tuned: FittedRun, tmp_path: Path
) -> None:
    stages = "conv_pw_12:2@1e-3,conv_pw_10:1@1e-4"
    cached = bottleneck.finetune(small_run, stages, mode="cached", out=tmp_path / "cached")
    assert cached.run.tuning is not None
    assert cached.run.tuning.trained_on == "activations at conv_pw_10_relu"
    # activations are kept in half precision
    assert losses(cached.path) == pytest.approx(losses(tuned.path), rel=2e-3)
    assert len(losses(cached.path)) == 3


def test_views_are_the_same_live_and_cached(small_run: Path, tmp_path: Path) -> None:
    settings = Settings(augment="flip,rotate=15,brightness=0.2", views=2)
    found = []
    for mode in ("live", "cached"):
        run = bottleneck.finetune(
            small_run,
            "conv_pw_12:3@1e-3",
            settings,
            mode=mode,  # type: ignore[arg-type]
            out=tmp_path / mode,
        )
        found.append(losses(run.path))
    assert found[1] == pytest.approx(found[0], rel=2e-3)
    # another view in each epoch, where their number is not given
    fresh = bottleneck.finetune(
        small_run,
        "conv_pw_12:3@1e-3",
        Settings(augment="flip,rotate=15,brightness=0.2"),
        out=tmp_path / "fresh",
    )
    assert fresh.run.tuning is not None
    assert fresh.run.tuning.trained_on == "pictures"
    assert losses(fresh.path)[:2] == pytest.approx(found[0][:2], rel=1e-5)
    assert losses(fresh.path)[2] != pytest.approx(found[0][2], rel=1e-3)


def test_frozen_weights_and_statistics_do_not_change(
    small_run: Path, tuned: FittedRun, tmp_path: Path
) -> None:
    # a rate of next to nothing leaves the graph as it was assembled
    before = weights(
        bottleneck.finetune(small_run, "head:1@1e-30", mode="live", out=tmp_path / "start").path
    )
    after = weights(tuned.path)
    assert before.keys() == after.keys()
    moved = {path for path in before if (before[path] != after[path]).any()}
    assert all(
        "mobilenet" not in path or "_11" in path or "_12" in path or "_13" in path for path in moved
    )
    assert any("conv_pw_11/" in path for path in moved)
    assert any("conv_pw_13/" in path for path in moved)
    assert any("conv_pw_13_bn/gamma" in path for path in moved)
    assert not any("moving" in path for path in moved)
    assert any("logits" in path for path in moved)

    learnt = bottleneck.finetune(
        small_run,
        "conv_pw_12:1@1e-3",
        Settings(train_batchnorm=True),
        mode="live",
        out=tmp_path / "learnt",
    )
    statistics = {
        path
        for path, values in weights(learnt.path).items()
        if "moving" in path and (values != before[path]).any()
    }
    assert statistics == {path for path in before if "moving" in path and "_13_bn" in path}


def test_the_run_folder_is_complete(small_run: Path, tuned: FittedRun) -> None:
    names = {"run.json", "model.keras", "head.skops", "predictions.csv"}
    names |= {"history.csv", "curves.png", "report.html"}
    assert {file.name for file in tuned.path.iterdir()} == names
    run = read_run(tuned.path)
    assert run == tuned.run
    tuning, head = run.tuning, read_run(small_run)
    assert tuning is not None
    assert tuning.head_metrics == head.metrics
    first, second = tuning.stages
    # of MobileNet 0.25: a pointwise convolution of 256 × 256, a depthwise one, their normalisation, and the head
    assert first.trainable == 256 * 256 + 9 * 256 + 4 * 256 + 2 * 256 + 2
    assert first.trainable < second.trainable
    assert first.trainable + first.frozen == second.trainable + second.frozen
    assert first.before.accuracy == head.metrics["val"].accuracy
    assert second.before == first.after
    epochs = history(tuned.path)
    assert [(epoch["stage"], epoch["epoch"]) for epoch in epochs] == (
        [("0", "0"), ("1", "1"), ("1", "2"), ("2", "1")]
    )
    assert run.best == TUNED
    assert run.metrics == tuning.tuned_metrics
    page = (tuned.path / "report.html").read_text()
    assert "conv_pw_12:2@0.001" in page
    assert "RANDOM" in page
    assert "http" not in page.replace("http-equiv", "")


def test_predictions_of_the_run_match_its_predictions_file(
    tuned: FittedRun, images: Path, tmp_path: Path
) -> None:
    found = bottleneck.predict(tuned.path, images, cache=tmp_path / "cache")
    with (tuned.path / "predictions.csv").open() as lines:
        told = {row["path"]: float(row["temple"]) for row in csv.DictReader(lines)}
    by_path = dict(zip(found.paths, found.probabilities[:, 1], strict=True))
    assert by_path == pytest.approx(told, abs=2e-5)
    # and from the cache again, without the network
    again = bottleneck.predict(tuned.path, images, cache=tmp_path / "cache")
    assert again.probabilities.tobytes() == found.probabilities.tobytes()


def test_images_that_cannot_be_used_are_reported(
    tuned: FittedRun, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(images / "flower" / "00.jpg", folder / "a.jpg")
    (folder / "b.jpg").write_bytes(b"no picture")
    found = bottleneck.predict(tuned.path, folder)
    assert found.names[0] in {"flower", "temple"}
    assert found.names[1] is None
    assert "not an image" in found.reasons[1]


def test_without_improvement_it_warns_and_keeps_the_head(
    small_cache: Path, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = bottleneck.fit_head(small_cache, out=tmp_path / "good")
    # a rate that breaks everything
    run = bottleneck.finetune(good.path, "conv_pw_12:1@3", mode="live", out=tmp_path / "worse")
    assert run.run.best == HEAD
    assert run.run.metrics == good.run.metrics
    assert "did not beat the head" in caplog.text
    assert "did not beat the head" in (run.path / "report.html").read_text()
    one, other = (bottleneck.predict(path, images) for path in (good.path, run.path))
    assert one.probabilities.tobytes() == other.probabilities.tobytes()


def test_a_nan_loss_ends_training_with_the_last_good_weights(
    small_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = "conv_pw_12:1@1e-3,conv_pw_12:2@1e37,conv_pw_11:1@1e-3"
    run = bottleneck.finetune(
        small_run, stages, Settings(warm_up=0), mode="live", out=tmp_path / "run"
    )
    tuning = run.run.tuning
    assert tuning is not None
    assert "in stage 2" in tuning.stopped
    assert "--find-lr" in caplog.text
    assert [stage.stage for stage in tuning.stages] == ["conv_pw_12:1@0.001"]
    assert tuning.stages[0].after.log_loss == pytest.approx(
        tuning.tuned_metrics["val"].log_loss, rel=1e-5
    )
    assert all(np.isfinite(values).all() for values in weights(run.path).values())


def test_heads_without_layers_are_replaced_by_a_dense_layer(
    small_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    knn = bottleneck.fit_head(small_cache, "knn", out=tmp_path / "knn")
    run = bottleneck.finetune(knn.path, "head:1@1e-4", mode="live", out=tmp_path / "run")
    assert run.run.tuning is not None
    assert run.run.tuning.started_from == "softmax"
    assert run.run.tuning.head_metrics == knn.run.metrics
    assert "Head knn cannot be part of a network" in caplog.text


def test_keras_heads_are_used_unchanged_and_dropout_can_be_set(
    small_cache: Path, tmp_path: Path
) -> None:
    dense = bottleneck.fit_head(
        small_cache, "dense", out=tmp_path / "dense", params={"hidden": [8], "epochs": 2}
    )
    run = bottleneck.finetune(
        dense.path,
        "head:1@1e-4",
        Settings(dropout=0.5, label_smoothing=0.1, class_weight="balanced", clip_norm=1.0),
        mode="live",
        out=tmp_path / "run",
    )
    assert run.run.tuning is not None
    assert run.run.tuning.started_from == "dense"
    model = load_keras().models.load_model(run.path / "model.keras", safe_mode=True)
    kinds = [type(layer).__name__ for layer in model.get_layer("head").layers]
    assert kinds == ["Normalization", "Dense", "Activation", "Dropout", "Dense"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_training_keeps_float32_weights(
    precision: Any, small_run: Path, tuned: FittedRun, tmp_path: Path
) -> None:
    settings = Settings(precision=precision, batch_size=4, patience=9)
    run = bottleneck.finetune(
        small_run, "conv_pw_12:3@1e-3", settings, mode="live", out=tmp_path / "run"
    )
    # the first steps in float16 only find by how much gradients can be scaled
    assert losses(run.path)[-1] < losses(run.path)[0]
    assert losses(run.path)[0] < float(history(tuned.path)[1]["loss"]) * 1.1
    model = load_keras().models.load_model(run.path / "model.keras", safe_mode=True)
    assert {layer.compute_dtype for layer in model.get_layer("mobilenet_0.25").layers} == {
        "float32"
    }
    assert {str(values.dtype) for values in weights(run.path).values()} <= {
        "float32",
        "int32",
        "uint32",
    }


def test_compare_accepts_a_fine_tuned_run_and_its_head(
    small_cache: Path, small_run: Path, tuned: FittedRun
) -> None:
    found = bottleneck.compare(small_cache, ["softmax"], runs=[small_run, tuned.path])
    by_name = {entry.name: entry for entry in found.entries}
    assert by_name.keys() == {"softmax", "run", "tuned"}
    accuracy = by_name["tuned"].scores["val"].figures["accuracy"].value
    assert accuracy == tuned.run.metrics["val"].accuracy


@pytest.mark.long
@pytest.mark.parametrize("kind", ["keras", "savedmodel", "onnx", "litert"])
def test_it_is_exported_as_one_graph(kind: str, tuned: FittedRun, tmp_path: Path) -> None:
    exported = bottleneck.export(tuned.path, tmp_path / "out", kind)
    assert exported.check.largest_difference < 1e-4
    assert "fine-tuned" in (exported.path / "README.md").read_text()


def test_a_graph_that_does_not_give_the_heads_predictions_is_not_trained(
    small_cache: Path, small_run: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(small_cache, cache)
    store = FeatureCache(cache)
    features = store.load()
    folder = cache / "features" / store.find_recipe().recipe.id
    for shard in shard_paths(folder):
        shard.unlink()
    other = np.ascontiguousarray(features.X[::-1])
    write_shard(folder, store.find_recipe().recipe, list(features.digests), features.views, other)
    with pytest.raises(BottleneckError, match="does not give the predictions of"):
        bottleneck.finetune(
            small_run, "conv_pw_12:1@1e-3", mode="live", cache=cache, out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "run.unfinished").exists()


def test_a_learning_rate_is_found_and_plotted(small_run: Path, tmp_path: Path) -> None:
    source = tmp_path / "copy"
    shutil.copytree(small_run, source)
    found = find_rate(source, "conv_pw_12:1@1e-4")
    assert 1e-6 < found.suggestion < 1
    assert Path(found.plot).read_bytes().startswith(b"\x89PNG")
    rows = Path(found.table).read_text().splitlines()
    assert len(rows) == len(found.rates) + 1 == len(found.losses) + 1


class TestBadInput:
    """One clear line each, and nothing lost."""

    @pytest.fixture
    def own(self, small_cache: Path, small_run: Path, tmp_path: Path) -> Path:
        """A copy of run and cache that may be broken."""
        shutil.copytree(small_cache, tmp_path / "cache")
        run = tmp_path / "own"
        shutil.copytree(small_run, run)
        content = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(content | {"cache": str(tmp_path / "cache")}))
        return run

    def test_the_cache_is_gone(self, own: Path, cli: Cli) -> None:
        shutil.rmtree(own.parent / "cache")
        said = one_line(cli("finetune", own, "--stages", "conv_pw_12:1@1e-4", check=False))
        assert "--cache" in said

    def test_the_images_are_gone(self, own: Path, images: Path, tmp_path: Path) -> None:
        moved = tmp_path / "images"
        shutil.copytree(images, moved)
        extract_here(moved, own.parent / "cache", **BASE)
        shutil.rmtree(moved)
        with pytest.raises(BottleneckError, match=r"no such file.*put it back"):
            bottleneck.finetune(own, "conv_pw_12:1@1e-4", mode="live", out=tmp_path / "run")
        assert not list(tmp_path.glob("run*"))

    def test_classes_differ(self, own: Path, images: Path, tmp_path: Path) -> None:
        renamed = tmp_path / "renamed"
        shutil.copytree(images, renamed)
        (renamed / "flower").rename(renamed / "blossom")
        extract_here(renamed, own.parent / "cache", **BASE)
        with pytest.raises(BottleneckError, match=r"has the classes blossom, temple.*fit-head"):
            bottleneck.finetune(own, "conv_pw_12:1@1e-4", out=tmp_path / "run")

    def test_images_were_added_or_removed(self, own: Path, images: Path, tmp_path: Path) -> None:
        fewer = tmp_path / "fewer"
        shutil.copytree(images, fewer)
        (fewer / "flower" / "00.jpg").unlink()
        extract_here(fewer, own.parent / "cache", **BASE)
        with pytest.raises(BottleneckError, match=r"have changed since.*fit-head"):
            bottleneck.finetune(own, "conv_pw_12:1@1e-4", out=tmp_path / "run")

    def test_the_weights_are_those_of_another_base(self, own: Path, tmp_path: Path) -> None:
        with pytest.raises(BottleneckError, match=r"are not those of mobilenet_0.25"):
            bottleneck.finetune(own, "conv_pw_12:1@1e-4", weights="random-7", out=tmp_path / "run")

    def test_the_disk_is_full(self, own: Path, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "1m") as disk:
            shutil.copytree(own.parent / "cache", disk / "cache")
            with pytest.raises(BottleneckError, match=r"will take .* MB and .* are free"):
                bottleneck.finetune(
                    own,
                    "conv_pw_1:1@1e-4",
                    Settings(augment="flip", views=9),
                    mode="cached",
                    cache=disk / "cache",
                    out=tmp_path / "run",
                )
        assert not list(tmp_path.glob("run*"))

    def test_exclusive_options_are_an_error(
        self, small_run: Path, tuned: FittedRun, cli: Cli
    ) -> None:
        def said(*options: object) -> str:
            return one_line(cli("finetune", small_run, *options, check=False))

        assert "--live" in said("--live", "--from-cache")
        assert "--unfreeze-last" in said("--stages", "head:1@1e-4", "--unfreeze-last", 3)
        assert "--unfreeze-last" in said("--epochs", 3)
        assert "never overwritten" in said("--out", tuned.path)

    def test_unlimited_views_cannot_be_cached(self, small_run: Path, tmp_path: Path) -> None:
        with pytest.raises(BottleneckError, match="how many with --views"):
            bottleneck.finetune(
                small_run,
                "conv_pw_12:1@1e-4",
                Settings(augment="flip"),
                mode="cached",
                out=tmp_path / "run",
            )

    def test_a_fine_tuned_run_is_not_fine_tuned_again(
        self, tuned: FittedRun, tmp_path: Path
    ) -> None:
        with pytest.raises(BottleneckError, match="already fine-tuned"):
            bottleneck.finetune(tuned.path, "head:1@1e-4", out=tmp_path / "run")


def test_the_command_takes_the_last_layers_and_a_file(
    small_run: Path, tmp_path: Path, cli: Cli
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("unfreeze_last: 10\nepochs: 1\nlearning_rate: 1e-3\nmode: live\npatience: 2\n")
    logs = tmp_path / "logs"
    arguments = ("--config", plan, "--learning-rate", 1e-4, "--tensorboard", logs, "--json")
    process = cli("finetune", small_run, *arguments, "--out", tmp_path / "run")
    tuning = last_json(process)["tuning"]
    assert tuning["stages"][0]["stage"] == "10:1@0.0001"
    assert tuning["trained_on"] == "pictures"
    assert tuning["settings"]["patience"] == 2
    assert "are trained in 10 layers of the base" in process.stderr
    assert "s an epoch, live" in process.stderr
    assert list(logs.glob("events.*"))


def test_auto_unfreezes_block_by_block(small_run: Path, tmp_path: Path) -> None:
    run = bottleneck.finetune(small_run, out=tmp_path / "run", mode="cached")
    assert run.run.tuning is not None
    assert [stage.stage for stage in run.run.tuning.stages] == [
        "conv_pw_12_relu:3@0.0001",
        "conv_pw_11_relu:3@1e-05",
        "conv_pw_9_relu:3@1e-06",
    ]
