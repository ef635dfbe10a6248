"""Weights are found, read from every container, told apart by digest, and refused in one line."""

import hashlib
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import Base
from bottleneck.bases.registry import BASES, find_base
from bottleneck.bases.weights import build_with_weights, find_weights, tensor_digest
from bottleneck.errors import BottleneckError

INCEPTION = BASES["inception_v3"]
# What is said of files holds for any base; this one is built in a quarter of the time.
MOBILENET = BASES["mobilenet"]


def refusal(file: Path, base: Base = MOBILENET) -> str:
    with pytest.raises(BottleneckError) as caught:
        build_with_weights(base, find_weights(file), 75)
    assert len(str(caught.value).splitlines()) == 1
    assert file.name in str(caught.value)
    return str(caught.value)


def tensors(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.weights]


@pytest.fixture(scope="module")
def keras() -> Any:
    return load_keras()


@pytest.fixture(scope="module")
def trained(keras: Any) -> Any:
    """A MobileNet whose tensors are all different, those of its normalisation too."""
    model = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(75, 75, 3))
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(rng.standard_normal(variable.shape, dtype=np.float32))
    return model


@pytest.fixture(scope="module")
def new_h5(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "new.weights.h5"
    trained.save_weights(file)
    return file


# --- telling which are meant


@pytest.mark.parametrize(
    ("weights", "seed", "kind", "name"),
    [
        ("imagenet", 0, "imagenet", "imagenet"),
        ("random", 0, "random", "random-0"),
        ("random", 7, "random", "random-7"),
        ("random-12", 7, "random", "random-12"),
    ],
)
def test_weights_without_a_file_are_known_by_name(
    weights: str, seed: int, kind: str, name: str
) -> None:
    source = find_weights(weights, seed)
    assert (source.kind, source.name) == (kind, name)
    assert source.fingerprint.startswith(f"{name}-keras-")


def test_a_file_is_known_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, contents in [("a.h5", b"one"), ("b.weights.h5", b"one"), ("c.keras", b"two")]:
        Path(name).write_bytes(contents)
    a, b, c = (find_weights(name) for name in ("a.h5", "b.weights.h5", "c.keras"))
    assert (a.kind, a.name) == ("file", str(tmp_path / "a.h5"))
    assert a.fingerprint == b.fingerprint != c.fingerprint


def test_weights_that_do_not_exist_or_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "folder.h5").mkdir()
    for name in ("imagnet", tmp_path / "gone.h5", tmp_path / "folder.h5"):
        with pytest.raises(BottleneckError, match=f"no weights file {name}; --weights takes"):
            find_weights(name)
    with pytest.raises(BottleneckError, match=r"model\.onnx is no weights file we read"):
        find_weights(tmp_path / "model.onnx")


# --- random


def test_random_weights_depend_on_their_seed_and_nothing_else(keras: Any) -> None:
    def digest(seed: int) -> str:
        return tensor_digest(build_with_weights(MOBILENET, find_weights("random", seed), 75))

    first = digest(3)
    assert digest(4) != first
    keras.utils.set_random_seed(9)
    assert digest(3) == first


def test_random_weights_of_the_base_are_those_of_every_machine() -> None:
    model = build_with_weights(INCEPTION, find_weights("random-0"), 75)
    rng = np.random.default_rng(0)
    kernel = model.weights[0]
    expected = rng.standard_normal(kernel.shape, dtype=np.float32) * np.sqrt(2 / 27)
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-6)
    # normalisation is neutral: beta 0, mean 0, variance 1
    assert [float(np.ptp(v)) for v in tensors(model)[1:4]] == [0, 0, 0]
    assert [float(np.max(v)) for v in tensors(model)[1:4]] == [0, 0, 1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda keras: np.random.random(),
        lambda keras: random.random(),
        lambda keras: float(keras.random.uniform(())),
    ],
    ids=["numpy", "python", "keras"],
)
def test_making_random_weights_leaves_the_global_generators_alone(
    keras: Any, draw: Callable[[Any], float]
) -> None:
    keras.utils.set_random_seed(5)
    expected = draw(keras)
    keras.utils.set_random_seed(5)
    build_with_weights(MOBILENET, find_weights("random"), 75)
    assert draw(keras) == expected


# --- containers


def _write_legacy(model: Any, file: Path) -> None:
    # As Keras 1 and 2 did: layers and tensors listed in attributes, by names that mean nothing.
    with h5py.File(file, "w") as h5:
        h5.attrs["layer_names"] = [f"layer_{i}".encode() for i, _ in enumerate(model.layers)]
        for i, layer in enumerate(model.layers):
            group = h5.create_group(f"layer_{i}")
            keys = [f"old_{i}/tensor_{k}:0" for k, _ in enumerate(layer.weights)]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, variable in zip(keys, layer.weights, strict=True):
                group[key] = variable.numpy()


CONTAINERS: dict[str, Callable[[Any, Path], None]] = {
    "new.weights.h5": lambda model, file: model.save_weights(file),
    "legacy.h5": _write_legacy,
    "legacy_whole_model.h5": lambda model, file: model.save(file),
    "whole_model.keras": lambda model, file: model.save(file),
}


@pytest.mark.filterwarnings("ignore")  # Keras would rather not write the old formats
@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_weights_have_the_same_digest_in_every_container(
    trained: Any, tmp_path: Path, name: str
) -> None:
    CONTAINERS[name](trained, tmp_path / name)
    # at another size, for weights know nothing of it
    model = build_with_weights(MOBILENET, find_weights(tmp_path / name), 96)
    assert tensor_digest(model) == tensor_digest(trained)
    for ours, theirs in zip(tensors(model), tensors(trained), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",  # its normalisation has a mean, a variance and a count
        "convnext_tiny",  # some of its layers are networks of their own
    ],
)
def test_weights_of_layers_of_every_kind_are_read_from_both_formats(
    keras: Any, tmp_path: Path, name: str
) -> None:
    base = BASES[name]
    builder = getattr(keras.applications, base.builder.split(":")[1])
    theirs = builder(weights=None, include_top=False, input_shape=(32, 32, 3))
    rng = np.random.default_rng(2)
    for variable in theirs.weights:
        if "float" in variable.dtype:
            variable.assign(rng.standard_normal(variable.shape, dtype=np.float32))
    for container in (
        "new.weights.h5",
        "legacy.h5",
    ):  # the others are these with something around them
        CONTAINERS[container](theirs, tmp_path / container)
        ours = build_with_weights(base, find_weights(tmp_path / container), 32)
        assert tensor_digest(ours) == tensor_digest(theirs), container


def test_an_efficientnet_with_weights_from_a_file_is_the_one_keras_downloads(
    keras: Any, tmp_path: Path
) -> None:
    # Where Keras downloads the weights it divides normalised pixels by the root of the deviation, and
    # where it reads them from a file it does not: a file made with the one gave other features there.
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    theirs = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    normalization = theirs.get_layer(index=2)
    normalization.set_weights([mean, deviation, np.array(0)])  # as in the public weights
    theirs.save_weights(tmp_path / "b0.weights.h5")
    ours = build_with_weights(
        BASES["efficientnet_b0"], find_weights(tmp_path / "b0.weights.h5"), 32
    )
    pixels = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    normalised = ((pixels / 255 - mean) / deviation).astype(np.float32)
    above = keras.Model(normalization.output, theirs.output)
    numpy = keras.ops.convert_to_numpy
    expected, found = numpy(above(normalised, training=False)), numpy(ours(pixels, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_the_digest_tells_values_shapes_and_order_apart(keras: Any) -> None:
    def digest(*shapes: tuple[int, int], ones: int = 0) -> str:
        layers = [keras.layers.Dense(width, use_bias=False) for _, width in shapes]
        model = keras.Sequential([keras.Input((shapes[0][0],)), *layers])
        for i, variable in enumerate(model.weights):
            values = np.zeros(variable.shape, np.float32)
            values.flat[0] = i == ones
            variable.assign(values)
        return tensor_digest(model)

    same = digest((2, 3), (3, 2))
    assert same == digest((2, 3), (3, 2))
    others = [digest((2, 3), (3, 2), ones=1), digest((3, 2), (2, 3)), digest((2, 3))]
    assert len({same, *others}) == 4


def test_the_digest_is_that_of_every_backend(keras: Any) -> None:
    # a normalisation counts in whole numbers: of 64 bits here and 32 there
    model = keras.Sequential([keras.Input((2,)), keras.layers.Normalization()])
    values = [np.zeros(2, "<f4"), np.ones(2, "<f4"), np.zeros((), "<i8")]
    digest = hashlib.sha256()
    for value in values:
        digest.update(f"{value.shape}{value.dtype.name}".encode() + value.tobytes())
    assert tensor_digest(model) == digest.hexdigest()


# --- files that are refused


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.filterwarnings("ignore")
def test_weights_of_another_network_are_refused_by_the_first_tensor_that_differs(
    keras: Any, tmp_path: Path, name: str
) -> None:
    layers = [keras.layers.Conv2D(5, 3), keras.layers.Dense(4)]
    CONTAINERS[name](keras.Sequential([keras.Input((75, 75, 3)), *layers]), tmp_path / name)
    message = refusal(tmp_path / name)
    assert "does not hold the weights of mobilenet without its classifier" in message
    assert "should be (3, 3, 3, 32) and is (3, 3, 3, 5)" in message
    assert "--weights" in message
    assert "--base" in message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["new.weights.h5", "legacy.h5"])
@pytest.mark.parametrize(("alpha", "top"), [(0.5, False), (1.0, True)])
def test_a_narrower_network_and_one_with_its_classifier_are_refused(
    keras: Any, tmp_path: Path, name: str, alpha: float, top: bool
) -> None:
    shape = (75, 75, 3)
    other = keras.applications.MobileNet(
        weights=None, include_top=top, input_shape=shape, alpha=alpha
    )
    CONTAINERS[name](other, tmp_path / name)
    assert ("it also holds" if top else "should be (3, 3, 3, 32)") in refusal(tmp_path / name)


def test_a_file_that_lacks_a_tensor_is_refused_by_its_name(new_h5: Path, tmp_path: Path) -> None:
    file = tmp_path / "lacking.weights.h5"
    file.write_bytes(new_h5.read_bytes())
    with h5py.File(file, "r+") as h5:
        del h5["layers/conv2d_3/vars/0"]
    assert "it lacks layers/conv2d_3/vars/0, expected in shape (1, 1, 128, 128)" in refusal(file)


def _dangling(file: Path) -> None:
    with h5py.File(file, "w") as h5:
        h5.attrs["layer_names"] = [b"conv"]


def _without_names(file: Path) -> None:
    with h5py.File(file, "w") as h5:
        h5.attrs["layer_names"] = [b"conv"]
        h5.create_group("conv")


def _not_a_group(file: Path) -> None:
    with h5py.File(file, "w") as h5:
        h5["model_weights"] = np.zeros(3, np.float32)


@pytest.mark.parametrize("damage", [_dangling, _without_names, _not_a_group])
def test_an_h5_file_of_a_damaged_layout_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path / "odd.h5")
    refusal(tmp_path / "odd.h5")


@pytest.mark.parametrize("name", ["a.weights.h5", "b.h5", "c.keras"])
def test_files_that_are_empty_or_something_else_are_refused(tmp_path: Path, name: str) -> None:
    for contents in (b"", b"version https://git-lfs.github.com/spec/v1\n"):
        (tmp_path / name).write_bytes(contents)
        kind = ".keras" if name.endswith(".keras") else "readable HDF5"
        assert f"is not a {kind} file" in refusal(tmp_path / name)


def test_a_truncated_h5_file_is_refused(new_h5: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.weights.h5").write_bytes(new_h5.read_bytes()[:-1000])
    assert "not a readable HDF5 file" in refusal(tmp_path / "cut.weights.h5")


def test_a_keras_archive_without_tensors_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "none.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "is not a .keras file" in refusal(tmp_path / "none.keras")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_keras_archive_of_damaged_tensors_is_refused(
    new_h5: Path, tmp_path: Path, method: int
) -> None:
    file = tmp_path / "damaged.keras"
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        archive.write(new_h5, "model.weights.h5")
    with file.open("r+b") as overwrite:
        overwrite.seek(100)  # past the header of the only member
        overwrite.write(b"\xff" * 5000)
    assert "is not a .keras file" in refusal(file)


def test_code_inside_a_keras_file_is_never_run(
    keras: Any, trained: Any, new_h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bait = keras.layers.Lambda(lambda x: __import__("pathlib").Path("executed").touch() or x)
    keras.Sequential([keras.Input((1,)), bait]).save("bait.keras")
    Path("executed").unlink()
    keras.models.load_model("bait.keras", safe_mode=False)
    Path("executed").unlink()  # the bait works: whoever loads the model runs it

    with zipfile.ZipFile("bait.keras") as archive, zipfile.ZipFile("both.keras", "w") as both:
        both.writestr("config.json", archive.read("config.json"))
        both.write(new_h5, "model.weights.h5")
    model = build_with_weights(MOBILENET, find_weights("both.keras"), 75)
    assert tensor_digest(model) == tensor_digest(trained)
    assert not Path("executed").exists()


# --- ImageNet


@pytest.mark.parametrize("weights", ["imagenet", "random"])
def test_too_small_images_and_a_failed_download_give_different_errors(weights: str) -> None:
    said = "inception_v3 cannot take images of 40 pixels: .* --image-size"
    with pytest.raises(BottleneckError, match=said):
        build_with_weights(INCEPTION, find_weights(weights), 40)


def test_without_a_network_imagenet_weights_fail_in_one_line_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    code = (
        "from bottleneck.bases import registry, weights\n"
        "base = registry.find_base('inception_v3')\n"
        "try:\n"
        "    weights.build_with_weights(base, weights.find_weights('imagenet'), 75)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    # A home without downloads and a proxy where nobody listens: the same on every machine.
    nowhere = {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = process.stdout.splitlines()
    assert line.startswith("BottleneckError the ImageNet weights of inception_v3 could not be down")
    assert "--weights FILE" in line
    assert "keras.applications.InceptionV3(include_top=False).save_weights(" in line


# --- real files


def test_the_partial_inception_weights_are_read_as_keras_reads_them(
    keras: Any, shared: Path
) -> None:
    file = shared / "data/weights/inception_v3_partial_notop.weights.h5"
    theirs = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(75, 75, 3)
    )
    theirs.load_weights(file)
    ours = build_with_weights(INCEPTION, find_weights(file), 75)
    assert tensor_digest(ours) == tensor_digest(theirs)
    for mine, other in zip(tensors(ours), tensors(theirs), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_real_weights_of_mobilenet_are_refused_for_inception(shared: Path) -> None:
    file = shared / "data/weights/mobilenet_0.75_224_notop.weights.h5"
    assert "does not hold the weights of inception_v3" in refusal(file, INCEPTION)


def test_layers_have_the_names_keras_gives_in_a_fresh_process_however_much_was_built_before() -> (
    None
):
    program = (
        "from bottleneck.bases.backend import load_keras; import json; "
        "model = load_keras().applications.{0}(weights=None, include_top=False, input_shape=({1}, {1}, 3)); "
        "print(json.dumps([each.name for each in model.operations]))"
    )
    for name, size in (("InceptionV3", 75), ("NASNetMobile", 64)):
        fresh = subprocess.run(
            [sys.executable, "-c", program.format(name, size)],
            stdout=subprocess.PIPE,
            check=True,
        )
        base = find_base(name)
        for _ in range(2):
            model = build_with_weights(base, find_weights("random"), size)
        assert [each.name for each in model.operations] == json.loads(fresh.stdout)
