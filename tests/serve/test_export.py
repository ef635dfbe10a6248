"""Exports say what their runs say, in every format; what cannot be exported is refused."""

import dataclasses
import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from numpy.typing import NDArray
from PIL import Image

from bottleneck import BottleneckError, export, fit_head, predict
from bottleneck.bases.backend import load_keras
from bottleneck.images.decode import Fit, decode
from bottleneck.runs.run import MODEL, TUNED, Run, TunedStage, Tuning, read_run, write_run
from bottleneck.serve import formats
from bottleneck.serve.card import Check, make_card
from bottleneck.serve.export import Exported
from bottleneck.serve.formats import FORMATS
from bottleneck.serve.savedmodel import decode_in_graph
from tests.commandline import Cli, one_line
from tests.pictures import extract_here, write_crops

SMALL = {"base": "mobilenet_0.25", "image_size": 32}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, photographs: list[Image.Image]) -> Path:
    """Pictures of two classes that no head can be sure of: a third are of the other photograph."""
    top = tmp_path_factory.mktemp("mixed") / "images"
    for seed, name in enumerate(("flower", "temple")):
        write_crops(top / name, photographs[1 - seed], 12, seed, "most-")
        write_crops(top / name, photographs[seed], 6, seed, "some-")
    return top


@pytest.fixture(scope="module")
def small(mixed: Path) -> Path:
    """Features of them at 32 pixels."""
    extract_here(mixed, mixed.parent / "cache", **SMALL)
    return mixed.parent / "cache"


@pytest.fixture(scope="module")
def runs(small: Path) -> dict[str, Path]:
    params: dict[str, dict[str, Any]] = {
        "logistic": {"C": 0.01},
        "svm": {},
        "dense": {"hidden": [8], "batch_norm": True, "epochs": 2},
        "centroid": {},
    }
    return {
        head: fit_head(small, head, out=small.parent / "runs" / head, params=of).path
        for head, of in params.items()
    }


def given_by(exported: Exported, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    return [way(pixels) for way in FORMATS[exported.format].load(exported.file)]


def pixels_of(images: Path, size: int = 32, fit: Fit = "squash") -> NDArray[np.uint8]:
    files = sorted(images.rglob("*.jpg"))
    return np.stack([decode(file.read_bytes(), size, fit) for file in files])


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("keras", "logistic"),
        ("savedmodel", "dense"),
        ("onnx", "svm"),
        ("onnx", "dense"),
        ("litert", "svm"),
    ],
)
def test_an_export_predicts_what_the_run_predicts(
    kind: str, head: str, runs: dict[str, Path], few_images: Path, tmp_path: Path
) -> None:
    exported = export(runs[head], tmp_path / "out", kind)
    own = predict(runs[head], few_images).probabilities
    assert 5e-3 < np.ptp(own) < 0.999  # neither certain nor all the same
    pixels = pixels_of(few_images)
    for some in (pixels, pixels[:1]):
        for probabilities in given_by(exported, some):
            np.testing.assert_allclose(probabilities, own[: len(some)], atol=1e-4)
    assert exported.check.largest_difference <= 1e-4
    assert "images of its validation split" in exported.check.pictures
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["flower", "temple"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


@pytest.mark.long
def test_inception_is_exported_to_onnx(few_run: Path, tmp_path: Path) -> None:
    assert export(few_run, tmp_path / "out", "onnx").check.largest_difference <= 1e-4


def test_maps_and_images_cut_to_a_square(mixed: Path, few_images: Path, tmp_path: Path) -> None:
    extract_here(mixed, tmp_path / "cache", pool="none", fit="crop", dtype="float32", **SMALL)
    small = {"filters": [4], "hidden": [4], "epochs": 1}
    run = fit_head(tmp_path / "cache", "conv", out=tmp_path / "run", params=small).path
    exported = export(run, tmp_path / "out")
    own = predict(run, few_images).probabilities
    (probabilities,) = given_by(exported, pixels_of(few_images, fit="crop"))
    np.testing.assert_allclose(probabilities, own, atol=1e-4)
    assert "ImageOps.fit(image, (32, 32)" in (tmp_path / "out" / "README.md").read_text()


def test_features_of_several_bases_are_put_together_in_the_order_of_the_run(
    small: Path, mixed: Path, few_images: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(small, tmp_path / "cache")
    extract_here(mixed, cache, base="mobilenet_0.5", image_size=32)
    taps = ["conv_pw_3_relu", "conv_pw_11_relu"]
    extract_here(mixed, cache, **SMALL, tap=taps)
    named = ["conv_pw_11_relu", "mobilenet_0.5", "conv_pw_3_relu"]
    run = fit_head(cache, "logistic", recipes=named, out=tmp_path / "run").path
    (probabilities,) = given_by(export(run, tmp_path / "out"), pixels_of(few_images))
    np.testing.assert_allclose(probabilities, predict(run, few_images).probabilities, atol=1e-4)


def test_recipes_that_take_other_images_cannot_be_one_graph(
    small: Path, mixed: Path, tmp_path: Path
) -> None:
    cache = shutil.copytree(small, tmp_path / "cache")
    extract_here(mixed, cache, base="mobilenet_0.25", image_size=40)
    run = fit_head(cache, recipes=["32", "40"], out=tmp_path / "run").path
    with pytest.raises(BottleneckError, match="32 pixels, squash and 40 pixels, squash"):
        export(run, tmp_path / "out")


def test_a_run_in_half_precision_is_exported_in_single_and_says_so(
    mixed: Path, tmp_path: Path
) -> None:
    half: dict[str, Any] = {"precision": "float16", "dtype": "float16"}
    extract_here(mixed, tmp_path / "cache", **SMALL, **half)
    run = fit_head(tmp_path / "cache", out=tmp_path / "run", params={"C": 0.01}).path
    exported = export(run, tmp_path / "out")
    assert 0 < exported.check.largest_difference <= exported.check.limit == 0.02
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the graph computes in single precision" in card
    policies = {layer.dtype_policy.name for layer in every_layer(exported.file)}
    assert policies == {"float32"}


def every_layer(file: Path) -> list[Any]:
    layers = [load_keras().models.load_model(file)]
    for layer in layers:
        layers += getattr(layer, "layers", [])
    return layers


def test_a_run_on_views_is_exported_for_one_with_a_warning(
    mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extract_here(mixed, tmp_path / "cache", **SMALL, augment="rotate=90", views=1)
    run = fit_head(
        tmp_path / "cache", recipe="augmented", predict_views=2, out=tmp_path / "run"
    ).path
    with caplog.at_level(logging.WARNING, "bottleneck"):
        exported = export(run, tmp_path / "out")
    assert exported.check.largest_difference <= 1e-4
    assert "averages over 2 views" in caplog.text
    assert "averages over 2 views" in (tmp_path / "out" / "README.md").read_text()


def test_without_the_images_generated_ones_are_compared(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = changed(runs["svm"], tmp_path / "run", cache=str(tmp_path / "gone"))
    check = export(run, tmp_path / "out").check
    assert "generated images" in check.pictures
    assert check.largest_difference <= 1e-4


def test_images_that_changed_are_left_out(small: Path, mixed: Path, tmp_path: Path) -> None:
    images = shutil.copytree(mixed, tmp_path / "images")
    extract_here(images, tmp_path / "cache", **SMALL)
    run = fit_head(tmp_path / "cache", out=tmp_path / "run").path
    before = export(run, tmp_path / "before").check.pictures
    rows = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()]
    path = next(row[0] for row in rows if row[2] == "val")
    Image.new("RGB", (50, 50)).save(images / path)
    after = export(run, tmp_path / "after").check.pictures
    assert int(after.split()[0]) == int(before.split()[0]) - 1


def test_a_fine_tuned_network_is_exported_where_it_is_better_than_the_head(
    runs: dict[str, Path], few_images: Path, tmp_path: Path
) -> None:
    known = read_run(runs["logistic"])
    metrics = known.metrics
    stage = TunedStage("conv_pw_13:1@0.1", 1, 1, 1, 1, metrics["val"], metrics["val"])
    tuning = Tuning("", "head", "pictures", (stage,), {}, metrics, metrics, TUNED, "")
    run = changed(runs["logistic"], tmp_path / "run", tuning=tuning)
    # a network that says the contrary of the head
    model = load_keras().models.load_model(export(runs["logistic"], tmp_path / "head").file)
    swapped = load_keras().ops.flip(model.output, -1)
    load_keras().Model(model.input, swapped).save(run / MODEL)
    exported = export(run, tmp_path / "tuned", "onnx")
    (probabilities,) = given_by(exported, pixels_of(few_images))
    by_head = predict(runs["logistic"], few_images).probabilities
    np.testing.assert_allclose(probabilities, by_head[:, ::-1], atol=1e-4)
    assert "in the stages `conv_pw_13:1@0.1`" in (tmp_path / "tuned" / "README.md").read_text()


def changed(run: Path, to: Path, **fields: Any) -> Path:
    """Copy a run, with other things in its run.json."""
    shutil.copytree(run, to)
    write_run(to, dataclasses.replace(read_run(to), **fields))
    return to


# --- what is refused, and leaves nothing behind


def test_an_export_with_other_predictions_is_an_error(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(classifier: Any, file: Path) -> None:
        model = classifier.model
        swapped = load_keras().ops.flip(model.output, -1)
        FORMATS["onnx"].write(
            dataclasses.replace(classifier, model=load_keras().Model(model.input, swapped)), file
        )

    wrong = dataclasses.replace(FORMATS["onnx"], name="wrong", write=write)
    monkeypatch.setattr(formats, "FORMATS", {"wrong": wrong})
    with pytest.raises(BottleneckError, match=r"probabilities differ by up to .* 0\.0001"):
        export(runs["logistic"], tmp_path / "out", "wrong")
    assert not list(tmp_path.iterdir())


def raises(classifier: Any, file: Path) -> None:
    raise TypeError("no such\noperator")


def writes_nonsense(classifier: Any, file: Path) -> None:
    file.write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (raises, r"cannot be written as poor \(no such operator\); give another --format"),
        (writes_nonsense, r"the poor file cannot be run \(.+\); give another --format"),
    ],
)
def test_a_graph_that_a_format_does_not_support_is_an_error(
    write: Any, said: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = dataclasses.replace(FORMATS["keras"], name="poor", write=write)
    monkeypatch.setattr(formats, "FORMATS", {"poor": poor})
    with pytest.raises(BottleneckError, match=said):
        export(runs["svm"], tmp_path / "out", "poor")
    assert not list(tmp_path.iterdir())


def test_a_head_without_layers_is_an_error_that_lists_those_with_layers(
    runs: dict[str, Path], tmp_path: Path, cli: Cli
) -> None:
    said = one_line(cli("export", runs["centroid"], tmp_path / "out", check=False))
    assert "head centroid cannot be part of a graph" in said
    assert "logistic|sgd|softmax|dense|conv|ridge|svm|lda" in said
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BottleneckError, match="exists already and an export is never overwritten"):
        export(runs["svm"], tmp_path)


def test_an_unknown_format_and_a_missing_package_are_named(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BottleneckError, match="takes keras, savedmodel, onnx or litert"):
        export(runs["svm"], tmp_path / "out", "pickle")
    lacking = dataclasses.replace(FORMATS["onnx"], modules=("onnx", "not_installed_anywhere"))
    monkeypatch.setattr(formats, "FORMATS", {"onnx": lacking})
    wanted = r"not_installed_anywhere.* pip install 'bottleneck-features\[onnx\]'"
    with pytest.raises(BottleneckError, match=wanted):
        export(runs["svm"], tmp_path / "out", "onnx")


def test_a_damaged_run_and_a_damaged_head_are_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(runs["svm"], tmp_path / "run")
    (run / "head.skops").write_bytes(b"no archive")
    with pytest.raises(BottleneckError, match="not a head that can be trusted"):
        export(run, tmp_path / "out")
    (run / "run.json").write_text("{")
    with pytest.raises(BottleneckError, match="damaged"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_gone_are_asked_for_and_others_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    gone = changed(runs["svm"], tmp_path / "gone", weights_paths=(str(tmp_path / "w.h5"),))
    with pytest.raises(BottleneckError, match=r"say where they are now with --weights"):
        export(gone, tmp_path / "out")
    assert export(gone, tmp_path / "out", weights="random").check.largest_difference <= 1e-4
    recipe = dataclasses.replace(read_run(gone).recipes[0], weights_digest="ab" * 32)
    other = changed(runs["svm"], tmp_path / "other", recipes=(recipe,))
    with pytest.raises(BottleneckError, match=r"expected tensors with digest abab.*--weights"):
        export(other, tmp_path / "out-2")


# --- the SavedModel's own decoding


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("size", [20, 75])
def test_a_graph_decodes_and_resizes_as_pillow_does(
    fit: Fit, size: int, photographs: list[Image.Image]
) -> None:
    import tensorflow as tf

    photograph = photographs[0]
    small = photograph.resize((60, 41))  # enlarged in part
    for picture, encoding in [
        (photograph, "JPEG"),
        (photograph.rotate(90, expand=True), "JPEG"),
        (photograph.convert("L"), "JPEG"),
        (small, "PNG"),
        (small, "BMP"),
        (small.quantize(), "GIF"),
    ]:
        file = io.BytesIO()
        picture.save(file, encoding)
        pixels = decode(file.getvalue(), size, fit).astype(int)
        decoded = decode_in_graph(tf.constant(file.getvalue()), size, fit).numpy()
        assert decoded.shape == (size, size, 3)
        difference = np.abs(decoded - pixels)
        assert difference.max() <= 2
        # to round in another order, as versions of Pillow do, is to differ by 1 in every fifth place
        assert difference.mean() < 0.2


# --- the card


names = st.lists(
    st.text(st.characters(exclude_characters="\0"), min_size=1)
    | st.sampled_from(
        ["```", "</code><script>", "---", "a\n---\nb", "| x |", "\u202egnp", "\udcff", "- [x](y)"]
    ),
    min_size=2,
    max_size=4,
)


@pytest.fixture(scope="module")
def known(runs: dict[str, Path]) -> Run:
    return read_run(runs["logistic"])


@given(names=names)
def test_class_names_cannot_break_the_card(names: list[str], known: Run) -> None:
    run = dataclasses.replace(
        known, classes=tuple(names), command=names[0], created=names[1], versions={names[0]: "1"}
    )
    card = make_card(run, FORMATS["keras"], Check("8 pictures", 1e-8, 1e-4), {names[1]: "2"})
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert head.splitlines()[0] == "library_name: keras"
    assert "\u202e" not in card
    card.encode()  # no lone surrogates
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    blocks = [token for token in tokens if token.type == "fence"]
    assert [block.info for block in blocks] == ["python", "json"]
    assert json.loads(blocks[1].content) == names
    parts = [part for token in tokens for part in token.children or ()]
    assert not {"html_inline", "link_open"} & {part.type for part in parts}
    assert "html_block" not in {token.type for token in tokens}
    assert sum(token.type == "heading_open" for token in tokens) == 5
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(run.metrics)


def test_the_card_lists_base_weights_data_and_versions(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = read_run(runs["logistic"])
    export(runs["logistic"], tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (
        "mobilenet_0.25",
        "Howard et al. 2017",
        run.recipes[0].weights_digest,
        run.data_digest,
        "RANDOM",
        "(n, 32, 32, 3)",
        f"{run.metrics['val'].log_loss:.4f}",
        "largest difference",
        run.versions["scikit-learn"],
    ):
        assert said in card
