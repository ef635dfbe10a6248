"""Pixels become the features that a plain Keras script would compute."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import Network, build_network
from bottleneck.bases.registry import BASES
from bottleneck.bases.weights import find_weights, tensor_digest

SIZE = 75  # the least that InceptionV3 takes; mixed7 is 3 × 3 then, and mixed10 is 1 × 1


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def plain() -> Any:
    """InceptionV3 as Keras builds it, with statistics that a batch would not have by chance."""
    keras = load_keras()
    model = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
    )
    rng = np.random.default_rng(1)
    for variable in model.weights:
        values = rng.standard_normal(variable.shape, dtype=np.float32)
        if len(variable.shape) > 1:
            values *= np.sqrt(2 / np.prod(variable.shape[:-1]))
        elif "variance" in variable.path:
            values = np.exp(values / 4)
        variable.assign(values)
    return model


@pytest.fixture(scope="module")
def weights(plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "plain.weights.h5"
    plain.save_weights(file)
    return file


@pytest.fixture(scope="module")
def outputs(plain: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What a plain script computes, at two taps."""
    keras = load_keras()
    taps = ["mixed7", "mixed10"]
    model = keras.Model(plain.input, [plain.get_layer(tap).output for tap in taps])
    prepared = keras.applications.inception_v3.preprocess_input(pixels.astype(np.float32))
    return dict(zip(taps, model.predict(prepared, verbose=0), strict=True))


def network(weights: Path, tap: str, pool: Any) -> Network:
    return build_network(BASES["inception_v3"], find_weights(weights), (tap,), pool, SIZE)


def features_of(built: Network, pixels: np.ndarray) -> np.ndarray:
    (features,) = built.features(pixels)
    return features


@pytest.fixture(scope="module")
def pooled(weights: Path) -> Network:
    return network(weights, "mixed7", "avg")


def assert_close(features: np.ndarray, expected: np.ndarray) -> None:
    assert features.dtype == np.float32
    # features are zero where a ReLU cut them off: what counts there is the scale of the others
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_average_pooled_features_are_those_of_a_plain_script(
    pooled: Network, outputs: dict[str, np.ndarray], pixels: np.ndarray
) -> None:
    assert pooled.feature_shapes == ((768,),)
    assert_close(features_of(pooled, pixels), outputs["mixed7"].mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("tap", "pool", "shape"),
    [("mixed7", "max", (768,)), ("mixed7", "none", (3, 3, 768)), ("mixed10", "avg", (2048,))],
)
def test_features_of_every_pool_and_tap_are_those_of_a_plain_script(
    weights: Path,
    outputs: dict[str, np.ndarray],
    pixels: np.ndarray,
    tap: str,
    pool: str,
    shape: tuple[int, ...],
) -> None:
    whole = outputs[tap]
    pools = {"avg": whole.mean(axis=(1, 2)), "max": whole.max(axis=(1, 2)), "none": whole}
    built = network(weights, tap, pool)
    assert built.feature_shapes == (shape,)
    assert_close(features_of(built, pixels), pools[pool])


def test_features_of_an_image_do_not_depend_on_its_neighbours(
    pooled: Network, pixels: np.ndarray
) -> None:
    among = features_of(pooled, pixels)
    alone = features_of(pooled, np.concatenate([pixels[:1], np.zeros_like(pixels[1:])]))
    assert_close(alone[:1], among[:1])
    assert not np.allclose(alone[1:], among[1:], rtol=0.1)


def test_running_a_network_changes_neither_its_weights_nor_its_answers(
    pooled: Network, pixels: np.ndarray
) -> None:
    before = [np.array(variable) for variable in pooled.model.weights]
    first = features_of(pooled, pixels)
    np.testing.assert_array_equal(features_of(pooled, pixels), first)
    for variable, values in zip(pooled.model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), values)


def test_a_network_is_frozen(pooled: Network) -> None:
    assert pooled.model.weights
    assert pooled.model.trainable_weights == []


def test_a_network_carries_the_digest_of_the_whole_base(pooled: Network, plain: Any) -> None:
    # of all its tensors, those above the tap too: one file of weights, one digest
    assert pooled.weights_digest == tensor_digest(plain)


def test_loading_keras_says_nothing() -> None:
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    code = "from bottleneck.bases.backend import load_keras; load_keras().ops.ones(2)"
    process = subprocess.run(
        [sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=True
    )
    assert (process.stdout, process.stderr) == ("", "")
