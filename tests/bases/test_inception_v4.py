"""Inception-v4 is the network of the paper and of the public weights."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bottleneck.bases.inception_v4 import InceptionV4
from bottleneck.errors import BottleneckError
from bottleneck.extraction.request import make_request
from bottleneck.extraction.spec import FeatureSpec
from tests.commandline import Cli, last_json, one_line

SALT = 4


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights made by a rule, so that two libraries can have the same without a download."""
    rng = np.random.default_rng([zlib.crc32(key.encode()), SALT])
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith(("running_var", "bn.weight")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if key.endswith(("running_mean", "bias")):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    spread = np.sqrt(2 / np.prod(shape[1:]))
    return (spread * rng.standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def source(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names and shapes of the public weights."""
    keys = json.loads((shared / "golden" / "inception_v4_timm_keys.json").read_text())
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file({key: tensor(key, tuple(shape)) for key, shape in keys.items()}, file)
    return file


@pytest.fixture(scope="module")
def converted(source: Path, cli: Cli) -> Path:
    out = source.with_name("inception_v4.weights.h5")
    told = last_json(cli("bases", "convert", "inception_v4", source, out, "--json"))
    assert len(told["weights_digest"]) == 64
    return out


def test_pooled_features_are_those_of_the_library_the_weights_come_from(
    shared: Path, converted: Path
) -> None:
    golden = np.load(shared / "golden" / "inception_v4_timm.npz")
    network = make_request(FeatureSpec("inception_v4", converted)).build_network()
    assert network.feature_shapes == ((1536,),)
    (features,) = network.features(golden["image"])
    error = np.linalg.norm(features - golden["pooled"], axis=1)
    assert (error < 1e-4 * np.linalg.norm(golden["pooled"], axis=1)).all()


def test_with_its_classifier_it_has_as_many_parameters_as_the_public_one() -> None:
    import keras

    model = InceptionV4()
    assert sum(int(np.prod(v.shape)) for v in model.trainable_weights) == 42_679_816
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 149
    assert {norm.epsilon for norm in norms} == {1e-3}


def test_average_pools_do_not_count_padding() -> None:
    import keras

    model = InceptionV4(include_top=False, input_shape=(75, 75, 3))
    pool = model.get_layer("inception_a_1_branch3_pool")
    ones = pool(np.ones((1, 7, 7, 384), np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ones), 1.0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.pop("features.9.branch2.1.bn.bias"), "it lacks features.9.branch2.1.bn.bias"),
        (
            lambda t: t.update({"features.0.conv.weight": np.zeros((32, 3, 5, 5), np.float32)}),
            "features.0.conv.weight has shape (32, 3, 5, 5)",
        ),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "it also holds extra"),
    ],
)
def test_weights_of_another_network_are_refused_and_the_first_difference_named(
    source: Path, tmp_path: Path, spoil, said: str
) -> None:
    from bottleneck.bases.convert import convert

    tensors = load_file(source)
    spoil(tensors)
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(BottleneckError) as caught:
        convert("inception_v4", tmp_path / "other.safetensors", tmp_path / "x.weights.h5")
    assert said in str(caught.value)
    assert not (tmp_path / "x.weights.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("inception_v4 gone.safetensors x.weights.h5", "no weights file gone.safetensors"),
        ("inception_v4 bad.safetensors x.weights.h5", "bad.safetensors is not a readable"),
        ("inception_v4 bad.safetensors x.h5", "ending in .weights.h5"),
        ("vgg16 bad.safetensors x.weights.h5", "nothing to convert for 'vgg16'"),
    ],
)
def test_a_failed_conversion_is_a_one_line_error(
    tmp_path: Path, cli: Cli, arguments: str, said: str
) -> None:
    (tmp_path / "bad.safetensors").write_text("nonsense")
    process = cli("bases", "convert", *arguments.split(), check=False, cwd=tmp_path)
    assert said in one_line(process)


@pytest.mark.parametrize("installed", [True, False])
def test_without_the_hub_the_error_gives_instructions(
    few_images: Path, tmp_path: Path, installed: bool
) -> None:
    hide = "" if installed else "sys.modules['huggingface_hub'] = None; "
    code = f"import sys; {hide}from bottleneck.cli.main import main; main()"
    arguments = ["extract", few_images, "--cache", tmp_path / "c", "--base", "inception_v4"]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )
    line = one_line(process)
    assert ("HF_HOME" if installed else "pip install 'bottleneck-features[hub]'") in line
    assert "bottleneck bases convert inception_v4 model.safetensors" in line
    assert "--weights" in line
