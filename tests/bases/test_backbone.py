"""A network of the user's own, in a `.keras` file, is a base like the others."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bottleneck
from bottleneck.bases.backbone import find_backbone
from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import find_size
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import tensor_digest
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.extraction.repair import repair
from bottleneck.extraction.request import make_request
from bottleneck.extraction.spec import FeatureSpec
from tests.commandline import Cli, last_json
from tests.pictures import extract_here


@pytest.fixture(scope="module")
def keras() -> Any:
    return load_keras()


def small(keras: Any, side: int | None, *, seed: int = 0, filters: int = 4) -> Any:
    """A network with a branch, normalisation of both kinds, and a network within it."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((side, side, 3), name="pixels")
    stem = keras.Sequential(
        [layers.Conv2D(filters, 3, strides=2, padding="same"), layers.ReLU()], name="stem"
    )
    prepare = layers.Normalization(name="prepare")
    x = stem(prepare(pixels))
    prepare.set_weights([np.array([0.1, 0.2, 0.3]), np.array([4.0, 5.0, 6.0]), np.array(7)])
    prepare.finalize_state()
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Add(name="joined")([x, layers.Conv2D(filters, 1, name="branch")(x)])
    x = layers.MaxPooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Conv2D(6, 3, name="last")(x))


@pytest.fixture(scope="module")
def folder(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to copy or read, and never to change."""
    folder = tmp_path_factory.mktemp("backbones")
    small(keras, 40).save(folder / "fixed.keras")
    small(keras, None).save(folder / "flexible.keras")
    return folder


def refusal(file: Path, preprocessing: str | None = "tf") -> str:
    """What is said where the file cannot be a base: in one line that names it."""
    with pytest.raises(BottleneckError) as caught:
        make_request(FeatureSpec(file, preprocessing=preprocessing)).build_network()
    assert len(str(caught.value).splitlines()) == 1
    assert file.name in str(caught.value)
    return str(caught.value)


# --- what is known of it without Keras


def test_a_file_is_called_by_its_name_its_preprocessing_and_its_architecture(
    keras: Any, folder: Path, tmp_path: Path
) -> None:
    def name(model: Any, preprocessing: str = "tf") -> str:
        model.save(tmp_path / "net.keras")
        return find_base(str(tmp_path / "net.keras"), preprocessing).name

    model = small(keras, 40, seed=1)
    first = name(model)
    assert re.fullmatch(r"net-tf-[0-9a-f]{8}", first)
    model.get_layer("branch").bias.assign(np.ones(4))
    assert name(model) == first  # weights are told apart by their own digest
    assert name(keras.models.load_model(tmp_path / "net.keras")) == first
    model.compile("sgd", "mse")
    assert name(model) == first
    assert name(model, "torch") == first.replace("tf", "torch")
    others = [small(keras, 40, filters=5), small(keras, 41), small(keras, None)]
    assert len({first, *map(name, others)}) == 4


@given(
    stem=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60)
)
def test_any_file_name_gives_a_recipe_that_can_be_a_folder(folder: Path, stem: str) -> None:
    file = folder / "odd" / f"{stem}.keras"
    file.parent.mkdir(exist_ok=True)
    try:
        shutil.copy(folder / "fixed.keras", file)
    except OSError:
        return  # too long for the file system
    name = find_backbone(file, "none").name
    file.unlink()
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}", name)
    assert name.split("-")[-2] == "none"


def test_a_size_is_its_own_where_it_has_one_and_ours_where_it_takes_any(folder: Path) -> None:
    fixed = find_backbone(folder / "fixed.keras", "tf")
    assert find_size(fixed, None) == find_size(fixed, 40) == 40
    for other in (39, 41, 224):
        with pytest.raises(BottleneckError, match=r"fixed\.keras takes images of 40 .* not"):
            find_size(fixed, other)
    flexible = find_backbone(folder / "flexible.keras", "tf")
    assert find_size(flexible, None) == 224
    assert find_size(flexible, 41) == 41


def test_a_file_needs_preprocessing_and_takes_no_weights(folder: Path) -> None:
    file = folder / "fixed.keras"
    said = refusal(file, None)
    for mode in ("--preprocessing", "tf", "caffe", "torch", "none"):
        assert mode in said
    with pytest.raises(BottleneckError, match=r"fixed\.keras has its own weights; leave --wei"):
        make_request(FeatureSpec(file, "imagenet", preprocessing="tf"))


# --- what it computes


@pytest.mark.parametrize("preprocessing", ["tf", "caffe", "torch", "none"])
def test_features_are_those_of_the_network_on_pixels_as_keras_prepares_them(
    keras: Any, folder: Path, preprocessing: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    prepared = pixels.astype(np.float32)
    if preprocessing != "none":
        prepare = keras.applications.imagenet_utils.preprocess_input
        prepared = prepare(prepared, mode=preprocessing)
    model = keras.models.load_model(folder / "fixed.keras")
    for name in ("fixed", "flexible"):
        model = keras.models.load_model(folder / f"{name}.keras")
        wanted = make_request(
            FeatureSpec(
                folder / f"{name}.keras", preprocessing=preprocessing, image_size=40, pool="none"
            )
        )
        network = wanted.build_network()
        assert network.weights_digest == tensor_digest(model)
        expected = keras.ops.convert_to_numpy(model(prepared, training=False))
        np.testing.assert_allclose(network.features(pixels)[0], expected, rtol=1e-3, atol=1e-3)


def test_a_flexible_network_is_built_for_the_size_asked_for(folder: Path) -> None:
    for size, side in ((40, 8), (64, 14)):
        wanted = make_request(
            FeatureSpec(folder / "flexible.keras", preprocessing="tf", image_size=size, pool="none")
        )
        assert wanted.build_network().feature_shapes == ((side, side, 6),)


def test_its_layers_can_be_tapped_and_a_wrong_one_is_answered_with_the_nearest(
    folder: Path,
) -> None:
    file = folder / "fixed.keras"
    assert make_request(
        FeatureSpec(file, preprocessing="tf", tap=["joined"])
    ).build_network().feature_shapes == ((4,),)
    with pytest.raises(BottleneckError, match=r"did you mean joined.*bases show /.*fixed.keras"):
        make_request(FeatureSpec(file, preprocessing="tf", tap=["jointed"])).build_network()
    with pytest.raises(BottleneckError, match="--drop-blocks cannot count them; name a layer"):
        make_request(FeatureSpec(file, preprocessing="tf", drop_blocks=1))


def test_show_lists_where_it_can_be_cut(folder: Path, cli: Cli) -> None:
    file = folder / "flexible.keras"
    shown = last_json(cli("bases", "show", file, "--image-size", 40, "--json"))
    assert shown["base"] == str(file)
    assert [tap["tap"] for tap in shown["taps"]] == ["joined", "pool", "top"]
    assert shown["taps"][0]["shape"] == [20, 20, 4]
    # 3 × 3 × 3 kernels at 20 × 20 places within the stem, and 1 × 1 × 4 of the branch
    assert shown["taps"][0]["multiply_adds_below"] == 400 * 4 * (27 + 4)


# --- what cannot be a base


def _two_inputs(keras: Any, file: Path) -> None:
    pair = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    keras.Model(pair, keras.layers.Add()(pair)).save(file)


def _two_outputs(keras: Any, file: Path) -> None:
    pixels = keras.Input((32, 32, 3))
    outputs = [keras.layers.Conv2D(2, 3)(pixels), keras.layers.Conv2D(2, 3)(pixels)]
    keras.Model(pixels, outputs).save(file)


def _of_shape(*shape: int | None) -> Callable[[Any, Path], None]:
    def write(keras: Any, file: Path) -> None:
        keras.Sequential([keras.Input(shape), keras.layers.Dense(2)]).save(file)

    return write


def _damaged(keras: Any, file: Path) -> None:
    small(keras, 32).save(file)
    with file.open("r+b") as overwrite:
        overwrite.truncate(file.stat().st_size - 300)


def _without_weights(keras: Any, file: Path) -> None:
    small(keras, 32).save(file.with_name("whole.keras"))
    with (
        zipfile.ZipFile(file.with_name("whole.keras")) as whole,
        zipfile.ZipFile(file, "w") as part,
    ):
        part.writestr("config.json", whole.read("config.json"))


def _with_config(content: str) -> Callable[[Any, Path], None]:
    def write(keras: Any, file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("config.json", content)

    return write


def _unknown_layer(keras: Any, file: Path) -> None:
    small(keras, 32).save(file.with_name("whole.keras"))
    with (
        zipfile.ZipFile(file.with_name("whole.keras")) as whole,
        zipfile.ZipFile(file, "w") as part,
    ):
        part.writestr("model.weights.h5", whole.read("model.weights.h5"))
        config = whole.read("config.json").decode()
        part.writestr("config.json", config.replace('"MaxPooling2D"', '"MyPooling"'))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_two_inputs, "expected one input of square images, (height, width, 3), found (32, 32, "),
        (_two_outputs, "expected one output, found 2"),
        (_of_shape(10), "found (10,)"),
        (_of_shape(32, 32, 1), "found (32, 32, 1)"),
        (_of_shape(32, 48, 3), "found (32, 48, 3)"),
        (_damaged, "is not a .keras file"),
        (_without_weights, "cannot be loaded"),
        (_unknown_layer, "cannot be loaded"),
        (_with_config("{}"), "found none that Keras describes"),
        (_with_config("[1]"), "found none that Keras describes"),
        (_with_config("{"), "is not a .keras file"),
        (lambda keras, file: file.write_bytes(b""), "is not a .keras file"),
        (lambda keras, file: None, "no file"),
    ],
)
def test_a_file_that_is_no_image_network_is_refused_in_one_line(
    keras: Any, tmp_path: Path, write: Callable[[Any, Path], None], said: str
) -> None:
    write(keras, tmp_path / "odd.keras")
    assert said in refusal(tmp_path / "odd.keras")


def test_code_in_a_file_is_never_run(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bait = keras.layers.Lambda(lambda x: __import__("pathlib").Path("executed").touch() or x)
    keras.Sequential([keras.Input((32, 32, 3)), bait]).save("bait.keras")
    Path("executed").unlink()
    keras.models.load_model("bait.keras", safe_mode=False)
    Path("executed").unlink()  # the bait works: whoever loads the model unsafely runs it
    assert "it contains code (a Lambda layer), which is never run" in refusal(
        tmp_path / "bait.keras"
    )
    assert not Path("executed").exists()


def test_an_image_size_that_gives_empty_maps_is_an_error(folder: Path) -> None:
    for size in (1, 5, 10):
        said = f"flexible-tf-.* cannot take images of {size} pixels: a map .*--image-size"
        with pytest.raises(BottleneckError, match=said):
            make_request(
                FeatureSpec(folder / "flexible.keras", preprocessing="tf", image_size=size)
            ).build_network()
    assert make_request(
        FeatureSpec(folder / "flexible.keras", preprocessing="tf", image_size=11)
    ).build_network()


# --- its way through the commands


def test_it_serves_from_extraction_to_prediction_wherever_its_file_is(
    folder: Path, few_images: Path, tmp_path: Path, cli: Cli
) -> None:
    file, cache, run = tmp_path / "mine.keras", tmp_path / "cache", tmp_path / "run"
    shutil.copy(folder / "fixed.keras", file)
    extract = ("extract", few_images, "--cache", cache, "--base", file, "--preprocessing", "tf")
    first = last_json(cli(*extract, "--json"))
    assert first["computed"] == 6
    assert first["recipes"][0].startswith("mine-tf-")
    bottleneck.fit_head(cache, out=run)
    predicted = bottleneck.predict(run, few_images)

    # moved, and called otherwise
    moved = file.rename(tmp_path / "elsewhere.keras")
    with pytest.raises(BottleneckError, match=r"weights are not where they were .* --weights"):
        bottleneck.predict(run, few_images)
    again = bottleneck.predict(run, few_images, weights=moved)
    np.testing.assert_array_equal(again.probabilities, predicted.probabilities)

    (shard,) = cache.glob("features/*/shard-*.h5")
    shard.unlink()
    with pytest.raises(BottleneckError, match=r"no file .*mine\.keras.*--weights"):
        repair(cache)
    assert repair(cache, weights=moved).computed == {first["recipes"][0]: 6}


def test_another_network_in_its_place_is_refused(
    keras: Any, folder: Path, few_images: Path, tmp_path: Path
) -> None:
    file, cache = tmp_path / "mine.keras", tmp_path / "cache"
    shutil.copy(folder / "fixed.keras", file)
    own = {"base": file, "preprocessing": "tf", "weights": None, "image_size": None}
    extract_here(few_images, cache, **own)
    (shard,) = cache.glob("features/*/shard-*.h5")
    shard.unlink()
    small(keras, 40, filters=5).save(file)
    with pytest.raises(BottleneckError, match=r"does not hold the network mine-tf-.* --weights"):
        repair(cache)
    # trained on since: the same architecture, other tensors
    model = keras.models.load_model(folder / "fixed.keras")
    model.get_layer("branch").bias.assign(np.ones(4))
    model.save(file)
    with pytest.raises(BottleneckError, match="are not those of mine-tf-"):
        repair(cache)
    extract_here(few_images, cache, **own)
    assert len(FeatureCache(cache).recipes) == 2  # and extract keeps both


def test_a_second_extraction_does_not_load_it(
    folder: Path, few_images: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, bottleneck\n"
        f"report = bottleneck.extract({str(few_images)!r}, 'cache', base={str(folder / 'fixed.keras')!r}, "
        "preprocessing='caffe')\n"
        "print(report.computed, *sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert printed[0][:2] == ["6", "keras"]
    assert printed[1] == ["0"]


def test_the_recipe_names_the_base(folder: Path, few_images: Path, tmp_path: Path) -> None:
    extract_here(
        few_images,
        tmp_path / "cache",
        base=folder / "fixed.keras",
        preprocessing="tf",
        weights=None,
        image_size=None,
    )
    (file,) = tmp_path.glob("cache/features/fixed-tf-*/recipe.json")
    content = json.loads(file.read_text())
    assert content["weights_path"] == str(folder / "fixed.keras")
    assert content["recipe"]["weights"] == "fixed.keras"
    assert content["recipe"]["image_size"] == 40
    assert content["recipe"]["tap"] == "top"
