"""The cache inside scikit-learn's own machinery."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bottleneck import BottleneckError, BottleneckFeatures, FeatureCache
from bottleneck.cache.survey import survey
from tests.pictures import extract_here

SMALL = {"base": "mobilenet_0.25", "weights": "random", "image_size": 64}


@pytest.fixture(scope="module")
def paths(images: Path) -> list[Path]:
    return sorted(images.rglob("*.jpg"))


@pytest.fixture(scope="module")
def labels(paths: list[Path]) -> list[str]:
    return [path.parent.name for path in paths]


def rows(cache: Path) -> list[int]:
    """How many features were computed and kept, recipe by recipe."""
    return [survey(folder).rows for folder in FeatureCache(cache).folders]


def test_features_are_those_of_extract_in_the_order_asked_for(
    images: Path, paths: list[Path], tmp_path: Path
) -> None:
    extract_here(images, tmp_path / "one", **SMALL)
    expected = FeatureCache(tmp_path / "one").load()
    asked = [*reversed(paths), paths[3], paths[3]]
    found = BottleneckFeatures(**SMALL, cache=tmp_path / "two").fit_transform(asked)
    by_path = {str(images / path): x for path, x in zip(expected.paths, expected.X, strict=True)}
    np.testing.assert_array_equal(found, [by_path[str(path)] for path in asked])


def test_a_grid_search_over_taps_and_bases_runs_the_base_once_for_each_picture(
    paths: list[Path], labels: list[str], tmp_path: Path
) -> None:
    features = BottleneckFeatures(**SMALL, cache=tmp_path)
    model = make_pipeline(features, StandardScaler(), LogisticRegression())
    grid = {
        "bottleneckfeatures__base": ["mobilenet_0.25", "mobilenet_0.5"],
        "bottleneckfeatures__tap": ["conv_pw_6", ["conv_pw_6", "conv_pw_13"]],
        "logisticregression__C": [0.01, 1.0],
    }
    search = GridSearchCV(model, grid, cv=2).fit(paths, labels)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_score_ > 0.7
    assert rows(tmp_path) == [40] * 4
    cross_val_score(model, np.array(paths, dtype=str), labels, cv=4)
    assert rows(tmp_path) == [40] * 4  # the default tap was among them


def test_what_is_there_is_returned_without_opening_a_picture_or_loading_a_network(
    paths: list[Path], tmp_path: Path
) -> None:
    BottleneckFeatures(**SMALL, cache=tmp_path).transform(paths)
    code = (
        "import sys, bottleneck\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"features = bottleneck.BottleneckFeatures(**{SMALL!r}, cache={str(tmp_path)!r})\n"
        f"assert features.transform({[str(path) for path in paths]!r}).shape == (40, 256)\n"
        "assert not [name for name in opened if name.endswith('.jpg')]\n"
        "assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_that_fill_the_same_cache_wait_for_each_other(
    paths: list[Path], labels: list[str], tmp_path: Path
) -> None:
    model = make_pipeline(BottleneckFeatures(**SMALL, cache=tmp_path), LogisticRegression())
    scores = cross_val_score(model, paths, labels, cv=2, n_jobs=2, error_score="raise")
    assert (scores > 0.5).all()
    assert rows(tmp_path) == [40]


def test_pixels_give_the_features_of_a_file_that_holds_them(
    paths: list[Path], tmp_path: Path
) -> None:
    for number, path in enumerate(paths[:3]):
        Image.open(path).save(tmp_path / f"{number}.png")
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths[:3]])
    features = BottleneckFeatures(**SMALL, cache=tmp_path / "cache")
    of_files = features.transform(sorted(tmp_path.glob("*.png")))
    np.testing.assert_array_equal(features.transform(pixels), of_files)
    np.testing.assert_array_equal(
        features.transform([*pixels[1:], pixels[0][:50]])[:2], of_files[1:]
    )
    assert rows(tmp_path / "cache") == [7]  # three files, three arrays, and half an array


def test_it_is_cloned_and_set_as_scikit_learn_does(tmp_path: Path) -> None:
    features = BottleneckFeatures(tap=["mixed7", "mixed9"], cache=tmp_path)
    other = clone(features).set_params(base="vgg16", tap="block4_pool")
    assert other.get_params()["cache"] == tmp_path
    assert (features.base, other.base) == ("inception_v3", "vgg16")


def test_a_cache_of_a_folder_keeps_the_listing_of_that_folder(
    few_images: Path, paths: list[Path], tmp_path: Path
) -> None:
    extract_here(few_images, tmp_path, **SMALL)
    before = FeatureCache(tmp_path).listing
    BottleneckFeatures(**SMALL, cache=tmp_path).transform(paths)
    assert FeatureCache(tmp_path).listing == before
    assert rows(tmp_path) == [46]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": "resnet"}, "unknown base 'resnet'; did you mean"),
        ({"resize": "stretch"}, "unknown value 'stretch' for --resize"),
        ({"tap": "conv_pw_99"}, "no tap 'conv_pw_99'; did you mean"),
    ],
)
def test_wrong_parameters_are_said(
    paths: list[Path], tmp_path: Path, options: dict, said: str
) -> None:
    features = BottleneckFeatures(**SMALL | {"cache": tmp_path} | options)
    with pytest.raises(BottleneckError, match=said):
        features.fit_transform(paths[:1])


def test_what_is_no_picture_is_said(paths: list[Path], tmp_path: Path) -> None:
    features = BottleneckFeatures(**SMALL, cache=tmp_path)
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(
        BottleneckError, match=r"2 of 3 images .*gone.jpg': no such file.*leave them"
    ):
        features.transform([paths[0], tmp_path / "gone.jpg", tmp_path / "broken.jpg"])
    for wrong in (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32)):
        with pytest.raises(BottleneckError, match="takes paths, or RGB pixels as uint8"):
            features.transform(wrong)
    with pytest.raises(BottleneckError, match="no images"):
        features.transform([])
