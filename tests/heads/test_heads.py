"""What every head does, whichever it is."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.errors import BottleneckError
from bottleneck.heads.registry import HEADS, HeadKind, Sample, complete_params, find_head

CLASSES, WIDTH = 3, 20

# twenty features need longer steps than two thousand
QUICK = {"softmax": {"learning_rate": 0.02}}


def blobs(count: int, seed: int) -> Sample:
    """Three clouds that overlap a little, with features of very different sizes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    X = rng.standard_normal((count, WIDTH)) + 2 * np.eye(CLASSES, WIDTH)[y]
    return Sample((X * np.logspace(-2, 2, WIDTH)).astype(np.float32), y.astype(np.int64))


def fitted(kind: HeadKind, seed: int = 0, **params: Any) -> Any:
    complete = complete_params(kind, QUICK.get(kind.name, {}) | params)
    return kind.load_module().fit(blobs(300, 1), blobs(100, 2), CLASSES, seed, complete)


@pytest.fixture(params=HEADS.values(), ids=HEADS)
def kind(request: pytest.FixtureRequest) -> HeadKind:
    return request.param


def test_it_learns_and_gives_probabilities(kind: HeadKind) -> None:
    test = blobs(500, 3)
    p = fitted(kind).predict_proba(test.X)
    assert p.shape == (500, CLASSES)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (p.argmax(axis=1) == test.y).mean() > 0.8


def test_the_same_seed_gives_the_same_numbers(kind: HeadKind) -> None:
    X = blobs(50, 3).X
    np.testing.assert_array_equal(fitted(kind).predict_proba(X), fitted(kind).predict_proba(X))


def test_it_comes_back_from_its_file_as_it_was(kind: HeadKind, tmp_path: Path) -> None:
    head = fitted(kind)
    head.save(tmp_path)
    X = blobs(50, 3).X
    loaded = kind.load_module().load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), head.predict_proba(X))


def test_a_damaged_or_missing_file_is_refused_in_one_line(kind: HeadKind, tmp_path: Path) -> None:
    for content in (None, b"", b"PK nonsense"):
        if content is not None:
            (tmp_path / kind.load_module().FILE_NAME).write_bytes(content)
        with pytest.raises(BottleneckError, match="bottleneck fit-head") as caught:
            kind.load_module().load(tmp_path)
        assert "\n" not in str(caught.value)


def test_parameters_are_checked_by_name_and_value(kind: HeadKind) -> None:
    with pytest.raises(BottleneckError, match="has no parameter 'depth'; it has:"):
        complete_params(kind, {"depth": 3})
    name = next(iter(kind.params))
    for value in ("-1", "0", "true", "NaN", "some", "1e999", None, [1]):
        with pytest.raises(BottleneckError, match=f"parameter {name} of head"):
            complete_params(kind, {name: value})


def test_an_unknown_head_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BottleneckError, match="did you mean logistic"):
        find_head("logistics")


def test_the_regularisation_is_the_best_of_the_path_on_the_validation_split() -> None:
    kind = find_head("logistic")
    chosen = fitted(kind).chosen
    for C in (1e-5, 1e-3, 0.1, 1.0):
        assert fitted(kind, C=C).chosen["val_log_loss"] >= chosen["val_log_loss"] - 1e-3
    assert fitted(kind, C=0.5).chosen["C"] == 0.5


def test_a_softmax_head_keeps_its_best_epoch_and_not_its_last() -> None:
    kind = find_head("softmax")
    head = fitted(kind, learning_rate=0.3, patience=4, epochs=30)
    p = head.predict_proba(blobs(100, 2).X)
    loss = -np.log(p[np.arange(100), blobs(100, 2).y]).mean()
    assert loss == pytest.approx(head.chosen["val_log_loss"], rel=1e-4)


def test_a_scikit_learn_head_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    content = {"scaler": FunctionTransformer(print), "classifier": 1, "chosen": {}}
    skops.io.dump(content, tmp_path / "head.skops")
    with pytest.raises(BottleneckError, match="not a head that can be trusted"):
        find_head("logistic").load_module().load(tmp_path)


def test_a_keras_head_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.chdir(tmp_path)
    layer = keras.layers.Lambda(lambda x: __import__("os").makedirs("it ran", exist_ok=True) or x)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.save(tmp_path / "head.keras")
    mark = tmp_path / "it ran"
    mark.rmdir()
    with pytest.raises(BottleneckError, match="not a head that can be trusted"):
        find_head("softmax").load_module().load(tmp_path)
    assert not mark.exists()


def test_a_keras_head_may_not_name_functions_to_call(tmp_path: Path) -> None:
    head = fitted(find_head("softmax"), epochs=1)
    head.save(tmp_path)
    with zipfile.ZipFile(tmp_path / "head.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = (
        parts["config.json"]
        .replace(b'"class_name": "Sequential"', b'"class_name": "system"')
        .replace(b'"module": "keras"', b'"module": "os"')
    )
    with zipfile.ZipFile(tmp_path / "head.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(BottleneckError, match="not a head that can be trusted"):
        find_head("softmax").load_module().load(tmp_path)
