"""What every head does, whichever it is."""

import functools
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.heads.contract import Head, Sample
from bottleneck.heads.epochs import class_weights
from bottleneck.heads.params import read_value
from bottleneck.heads.registry import HEADS, HeadKind, complete_params, find_head
from tests.heads.blobs import CLASSES, as_maps, blobs

# Twenty features need longer steps than two thousand, and clouds no great machinery.
QUICK: dict[str, dict[str, Any]] = {
    "softmax": {"learning_rate": 0.1, "epochs": 8},
    "dense": {"hidden": [16], "learning_rate": 0.03, "epochs": 5},
    "conv": {"filters": [8], "hidden": [8], "learning_rate": 0.03, "epochs": 5},
    "boosting": {"max_iter": 5},
    "forest": {"n_estimators": 30},
    "extra-trees": {"n_estimators": 30},
}
MLP = "sklearn.neural_network.MLPClassifier"
KINDS = {name: find_head(name) for name in (*HEADS, MLP)}
KERAS = ("softmax", "dense", "conv")
SKOPS = tuple(name for name in KINDS if name not in KERAS)


def shaped(kind: HeadKind, sample: Sample) -> Sample:
    return as_maps(sample) if kind.maps else sample


def fitted(kind: HeadKind, seed: int = 0, **params: Any) -> Head:
    complete = complete_params(kind, QUICK.get(kind.name, {}) | params)
    train, val = (shaped(kind, blobs(*of)) for of in ((300, 1), (100, 2)))
    return kind.fit(train, val, CLASSES, seed, complete)


@functools.cache
def once_fitted(name: str) -> Head:
    return fitted(KINDS[name])


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> HeadKind:
    return request.param


def test_it_learns_and_gives_probabilities(kind: HeadKind) -> None:
    test = shaped(kind, blobs(500, 3))
    p = once_fitted(kind.name).predict_proba(test.X)
    assert p.shape == (500, CLASSES)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (p.argmax(axis=1) == test.y).mean() > 0.7


def test_the_same_seed_gives_the_same_numbers(kind: HeadKind) -> None:
    X = shaped(kind, blobs(50, 3)).X
    np.testing.assert_array_equal(
        fitted(kind).predict_proba(X), once_fitted(kind.name).predict_proba(X)
    )


def test_every_head_predicts_the_same_in_a_fresh_process_that_runs_nothing_of_its_file(
    tmp_path: Path,
) -> None:
    sample = blobs(50, 3)
    np.save(tmp_path / "X.npy", sample.X)
    np.save(tmp_path / "maps.npy", as_maps(sample).X)
    for name in KINDS:
        (tmp_path / name).mkdir()
        once_fitted(name).save(tmp_path / name)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from bottleneck.heads.registry import find_head\n"
        # scikit-learn loads it where it is installed, and it unpickles things of its own then
        "import dask\n"
        "seen = []\n"
        "wrong = ('pickle.find_class', 'os.system', 'os.exec', 'subprocess.Popen')\n"
        "sys.addaudithook(lambda event, of: seen.append(event) if event in wrong and watched else None)\n"
        "watched = False\n"
        f"for name in {sorted(KINDS, key=KERAS.__contains__)!r}:\n"
        "    kind = find_head(name)\n"
        "    if kind.maps or name == 'softmax': import keras\n"
        f"    else: assert 'tensorflow' not in sys.modules or name in {KERAS!r}\n"
        "    X = np.load('maps.npy' if kind.maps else 'X.npy')\n"
        "    watched = True\n"
        "    head = kind.load(Path(name))\n"
        "    watched = False\n"
        "    np.save(f'{name}.npy', head.predict_proba(X))\n"
        "assert not seen, seen\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    for name, kind in KINDS.items():
        here = once_fitted(name).predict_proba(shaped(kind, sample).X)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), here)


@pytest.mark.parametrize("name", ["logistic", "knn", "sgd", "dense"])
def test_a_damaged_or_missing_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / ("head.keras" if name in KERAS else "head.skops")
    for content in (None, b"", b"PK nonsense"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BottleneckError, match="bottleneck fit-head") as caught:
            KINDS[name].load(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_unknown_head_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BottleneckError, match="did you mean logistic"):
        find_head("logistics")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sklearn.svm.NoSuch", "there is no class at the path"),
        ("no.such.module", "there is no class at the path"),
        ("os.system", "is not a scikit-learn classifier"),
        ("sklearn.linear_model.Ridge", "is an estimator but not a classifier"),
        ("sklearn.preprocessing.StandardScaler", "is not a scikit-learn classifier"),
        ("sklearn.ensemble.VotingClassifier", "needs the arguments estimators"),
    ],
)
def test_only_classifiers_can_be_named_by_a_path(path: str, said: str) -> None:
    with pytest.raises(BottleneckError, match=said) as caught:
        complete_params(find_head(path), {})
    assert "sklearn.neural_network.MLPClassifier" in str(caught.value)


def test_a_classifier_that_could_not_be_loaded_again_is_refused(tmp_path: Path) -> None:
    kind = find_head("sklearn.gaussian_process.GaussianProcessClassifier")
    head = kind.fit(blobs(30, 1), blobs(30, 2), CLASSES, 0, complete_params(kind, {}))
    with pytest.raises(
        BottleneckError, match=r"GaussianProcessClassifierLaplace.* without trusting"
    ):
        head.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_parameters_are_checked_by_name(kind: HeadKind) -> None:
    with pytest.raises(BottleneckError, match=r"has no parameter 'depthy'.*; it has:"):
        complete_params(kind, {"depthy": 3})


@pytest.mark.parametrize(
    ("head", "name", "value", "said"),
    [
        *(
            ("logistic", "C", value, "takes a number above 0 or none")
            for value in ("-1", "0", "true")
        ),
        *(
            ("softmax", "epochs", value, "a whole number above 0")
            for value in ("0.5", "NaN", "1e999")
        ),
        ("softmax", "learning_rate", "some", "takes a number above 0, not 'some'"),
        ("dense", "hidden", "[512, 0]", "a list of whole numbers above 0"),
        ("dense", "dropout", "1", "from 0 to below 1"),
        ("dense", "batch_norm", "1", "true or false"),
        ("sgd", "class_weight", "heavy", "none or balanced"),
        (
            "knn",
            "n_neighbors",
            "0",
            r"'n_neighbors' parameter of KNeighborsClassifier must be an int",
        ),
        ("forest", "criterion", "guess", "'criterion' parameter .* must be a str among"),
        (MLP, "alpha", "-1", "'alpha' parameter of MLPClassifier must be a float"),
        ("logistic", "max_itre", "3", r"did you mean max_iter\?"),
        ("knn", "neighbors", "3", r"did you mean n_neighbors\?"),
    ],
)
def test_values_are_checked_and_what_they_may_be_is_said(
    head: str, name: str, value: str, said: str
) -> None:
    with pytest.raises(BottleneckError, match=said):
        complete_params(find_head(head), {name: value})


def test_values_typed_are_those_meant() -> None:
    given = {"hidden": "512", "dropout": "0", "batch_norm": "true", "class_weight": "balanced"}
    params = complete_params(find_head("dense"), given)
    assert {name: params[name] for name in given} == {
        "hidden": [512],
        "dropout": 0,
        "batch_norm": True,
        "class_weight": "balanced",
    }
    assert complete_params(find_head(MLP), {"hidden_layer_sizes": "[8, 4]"})[
        "hidden_layer_sizes"
    ] == [8, 4]


@given(st.one_of(st.integers(), st.booleans(), st.none(), st.lists(st.integers(1, 9))))
def test_what_a_run_records_is_read_as_what_it_was(value: Any) -> None:
    assert read_value(json.dumps(value)) == read_value(str(value)) == read_value(value) == value


@given(st.lists(st.integers(0, 4), min_size=1).map(lambda more: np.array([*range(5), *more])))
def test_balanced_weights_make_all_classes_count_the_same(y: np.ndarray) -> None:
    weights = class_weights(y, 5, "balanced")
    np.testing.assert_allclose(np.bincount(y, weights[y]), len(y) / 5, rtol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "softmax", "sgd", "forest"])
def test_a_rare_class_is_found_more_often_where_classes_count_the_same(name: str) -> None:
    kind = KINDS[name]
    found = {}
    for how in (None, "balanced"):
        train, val, test = (blobs(count, seed) for count, seed in ((600, 1), (300, 2), (600, 3)))
        rare = [
            Sample(s.X[keep], s.y[keep])
            for s in (train, val)
            for keep in [np.flatnonzero((s.y != 0) | (np.arange(len(s.y)) % 20 == 0))]
        ]
        params = complete_params(kind, QUICK.get(name, {}) | {"class_weight": how})
        head = kind.fit(*rare, CLASSES, 0, params)
        found[how] = int((head.predict_proba(test.X[test.y == 0]).argmax(axis=1) == 0).sum())
    assert found["balanced"] > found[None]


def test_the_regularisation_is_the_best_of_the_path_on_the_validation_split() -> None:
    kind = find_head("logistic")
    chosen = once_fitted("logistic").chosen
    for C in (1e-5, 1e-3, 0.1, 1.0):
        assert fitted(kind, C=C).chosen["val_log_loss"] >= chosen["val_log_loss"] - 1e-3
    assert fitted(kind, C=0.5).chosen["C"] == 0.5


@pytest.mark.parametrize("name", ["softmax", "sgd"])
def test_the_best_epoch_is_kept_and_not_the_last(name: str) -> None:
    hasty = {"softmax": {"learning_rate": 0.5, "patience": 3, "epochs": 20}, "sgd": {}}
    head = fitted(find_head(name), **hasty[name])
    val = blobs(100, 2)
    loss = -np.log(head.predict_proba(val.X)[np.arange(100), val.y]).mean()
    assert loss == pytest.approx(head.chosen["val_log_loss"], rel=1e-4)


def test_layers_are_those_asked_for() -> None:
    dense: Any = fitted(find_head("dense"), hidden=[6, 4], batch_norm=True, epochs=1)
    conv: Any = fitted(find_head("conv"), filters=[5, 7], kernel=2, dropout=0, epochs=1)
    names = [type(layer).__name__ for layer in dense.model.layers]
    block = ["Dense", "BatchNormalization", "Activation", "Dropout"]
    assert names == ["Normalization", *block, *block, "Dense", "Softmax"]
    shapes = [layer.kernel.shape for layer in conv.model.layers if hasattr(layer, "kernel")]
    assert shapes == [(2, 2, 20, 5), (2, 2, 5, 7), (7, 8), (8, 3)]


def test_dropout_smoothing_and_decay_have_their_effect() -> None:
    X = blobs(50, 3).X
    kind = find_head("dense")
    plain = fitted(kind, dropout=0.0).predict_proba(X)
    for changed in ({"dropout": 0.5}, {"label_smoothing": 0.2}, {"weight_decay": 0.1}):
        other = fitted(kind, **({"dropout": 0.0} | changed)).predict_proba(X)
        assert not np.array_equal(other, plain)
        if "dropout" not in changed:
            assert other.max(axis=1).mean() < plain.max(axis=1).mean()


def test_a_scikit_learn_head_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    head: Any = once_fitted("logistic")
    pipeline = make_pipeline(FunctionTransformer(print), head.pipeline[-1])
    skops.io.dump(pipeline, tmp_path / "head.skops")
    for name in SKOPS:
        with pytest.raises(BottleneckError, match="not a head that can be trusted"):
            KINDS[name].load(tmp_path)


def test_a_scikit_learn_file_that_is_no_head_is_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    for content in ({"pipeline": 1}, Ridge(), make_pipeline(Ridge())):
        skops.io.dump(content, tmp_path / "head.skops")
        with pytest.raises(BottleneckError, match="expected a classifier pipeline"):
            find_head("logistic").load(tmp_path)


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
        find_head("softmax").load(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"class_name": "Sequential", "module": "keras"}, {"class_name": "system", "module": "os"}),
        ({"class_name": "Softmax"}, {"class_name": "TFSMLayer"}),
        ({"class_name": "HeNormal"}, {"class_name": "get_file", "module": "keras.utils"}),
    ],
)
def test_a_keras_head_may_name_nothing_but_its_layers(
    tmp_path: Path, old: dict[str, str], new: dict[str, str]
) -> None:
    once_fitted("dense").save(tmp_path)
    with zipfile.ZipFile(tmp_path / "head.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def change(part: dict[str, Any]) -> dict[str, Any]:
        return part | new if old.items() <= part.items() else part

    config = json.loads(parts["config.json"], object_hook=change)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "head.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(BottleneckError, match=f"it names .*{new['class_name']}, which is not part"):
        find_head("dense").load(tmp_path)
