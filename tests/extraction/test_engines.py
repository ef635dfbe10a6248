"""Whatever runs the base, the features are those of Keras."""

import dataclasses
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bottleneck import BottleneckError, FeatureCache
from bottleneck.bases.network import Network
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.engines import openvino_engine
from bottleneck.extraction.engines.keras_engine import constant_graph, largest_batch, run_full
from bottleneck.extraction.engines.protocol import Engine
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.request import make_request
from bottleneck.extraction.spec import FeatureSpec
from tests.commandline import Cli, last_json, one_line
from tests.pictures import extract_here

SIZE, BATCH = 64, 4
TAPS = ("conv_pw_13_relu", "conv_pw_3_relu")  # not in the order they come in the graph


@pytest.fixture(scope="module")
def network() -> Network:
    return make_request(
        FeatureSpec("mobilenet_0.25", "random", tap=TAPS, image_size=SIZE)
    ).build_network()


@pytest.fixture(scope="module", params=["keras", "openvino"])
def engine(network: Network, request: pytest.FixtureRequest) -> Engine:
    return start_engine(network, request.param, BATCH)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, BATCH, SIZE, SIZE, 3), dtype=np.uint8)


def assert_agree(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


def test_features_are_those_of_keras_tap_by_tap(
    engine: Engine, network: Network, pixels: np.ndarray
) -> None:
    assert engine.taps == network.taps == TAPS
    assert engine.feature_shapes == network.feature_shapes
    assert_agree(engine.features(pixels[0]), network.features(pixels[0]))


def test_compiled_by_xla_the_graph_gives_the_same_features(
    network: Network, pixels: np.ndarray
) -> None:
    found = constant_graph(network, xla=True)(pixels[0])
    assert_agree(tuple(output.numpy() for output in found), network.features(pixels[0]))


def test_a_batch_is_halved_until_the_memory_takes_it(network: Network) -> None:
    import tensorflow as tf

    tried = []

    def run(batch: int) -> None:
        tried.append(batch)
        run_full(network, min(batch, BATCH))
        tf.zeros((batch, 2**40 if batch > 32 else 1))  # four terabytes a picture

    assert (largest_batch(run), tried) == (32, [256, 128, 64, 32])


def test_a_batch_that_fails_for_another_reason_is_not_halved() -> None:
    def run(batch: int) -> None:
        raise ValueError(f"no layer takes {batch} pictures")

    with pytest.raises(ValueError, match="256"):
        largest_batch(run)


def test_batches_at_the_same_time_give_the_bits_of_batches_one_by_one(
    engine: Engine, pixels: np.ndarray
) -> None:
    assert engine.in_flight >= 1
    one_by_one = [engine.features(batch) for batch in pixels]
    with ThreadPoolExecutor(engine.in_flight) as threads:
        together = list(threads.map(engine.features, [*pixels, *pixels]))
    for found, expected in zip(together, one_by_one * 2, strict=True):
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]


def test_features_stay_as_they_are_when_the_pixels_are_written_over(
    engine: Engine, pixels: np.ndarray
) -> None:
    own = pixels[0].copy()
    first = engine.features(own)
    kept = [features.copy() for features in first]
    own[:] = pixels[1]
    engine.features(own)
    for features, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize(("base", "pool"), [("efficientnet_b0", "max"), ("convnext_tiny", "none")])
@pytest.mark.long
def test_openvino_agrees_on_other_families_and_pools(base: str, pool: str) -> None:
    network = make_request(FeatureSpec(base, "random", pool=pool, image_size=32)).build_network()
    shown = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert_agree(start_engine(network, "openvino", 2).features(shown), network.features(shown))


def test_auto_is_openvino_where_it_is_there_and_keras_where_it_is_not(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start_engine(network, "auto", BATCH).name == "openvino"
    monkeypatch.setattr("bottleneck.extraction.engines.start.openvino_installed", lambda: False)
    assert start_engine(network, "auto", BATCH).name == "keras"


def test_a_precision_the_processor_lacks_is_left_to_keras_and_refused_by_openvino(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_engine, "precisions_here", lambda: ("float32", "float16"))
    network = make_request(
        FeatureSpec("mobilenet_0.25", "random", image_size=32, precision="bfloat16")
    ).build_network()
    shown = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    chosen = start_engine(network, "auto", 1)
    assert chosen.name == "keras"
    (found,), (expected,) = chosen.features(shown), network.features(shown)
    # bfloat16 has 8 bits
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    refused = (
        r"cannot compute in bfloat16 on this processor, which has float32, float16; .*--engine"
    )
    with pytest.raises(BottleneckError, match=refused):
        start_engine(network, "openvino", 1)


def test_a_precision_the_processor_has_is_computed_by_openvino_as_keras_computes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "avx512" not in Path("/proc/cpuinfo").read_text():
        pytest.skip(
            "OpenVINO does bfloat16 with AVX-512 at the least, slowly where that is all there is"
        )
    monkeypatch.setattr(openvino_engine, "precisions_here", lambda: ("float32", "bfloat16"))
    wanted = make_request(
        FeatureSpec("mobilenet_0.25", "random", image_size=32, precision="bfloat16")
    )
    exact = dataclasses.replace(wanted, precision="float32").build_network()
    network = wanted.build_network()
    shown = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    chosen = start_engine(network, "auto", 1)
    assert chosen.name == "openvino"
    (found,), (expected,), (single,) = (
        one.features(shown) for one in (chosen, network, start_engine(exact, "openvino", 1))
    )
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert np.abs(found - single).max() > 1e-3 * np.abs(single).max()


def test_layers_saved_in_reduced_precision_are_left_to_keras(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((16, 16, 3))
    layer = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")
    keras.Model(pixels, layer(pixels)).save(tmp_path / "half.keras")
    network = make_request(
        FeatureSpec(tmp_path / "half.keras", preprocessing="none")
    ).build_network()
    assert start_engine(network, "auto", 1).name == "keras"
    with pytest.raises(BottleneckError, match=r"layers that were saved in bfloat16; .*--engine"):
        start_engine(network, "openvino", 1)


def test_a_base_openvino_does_not_know_is_run_by_keras_and_refused_in_one_line(
    tmp_path: Path,
) -> None:
    import keras

    pixels = keras.Input((16, 16, 3))
    # Bessel functions and the like are in no network; a singular value decomposition stands for them
    odd = keras.ops.svd(pixels, compute_uv=False)
    keras.Model(pixels, odd).save(tmp_path / "odd.keras")
    network = make_request(
        FeatureSpec(tmp_path / "odd.keras", preprocessing="none", pool="none")
    ).build_network()
    assert start_engine(network, "auto", 1).name == "keras"
    with pytest.raises(BottleneckError, match=r"cannot convert this base \(.*Svd\)") as caught:
        start_engine(network, "openvino", 1)
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_there_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BottleneckError, match="unknown value 'onnx' for --engine: auto, keras"):
        Settings(engine="onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("bottleneck.extraction.engines.start.openvino_installed", lambda: False)
    monkeypatch.setattr("bottleneck.extraction.conveyor.openvino_installed", lambda: False)
    with pytest.raises(BottleneckError, match=r"install bottleneck-features\[openvino\]"):
        Settings(engine="openvino")


def test_engines_share_a_recipe_and_a_cache(few_images: Path, tmp_path: Path) -> None:
    quick = {"base": "mobilenet_0.25", "image_size": 32}
    caches = {}
    for name in ("keras", "openvino"):
        report = extract_here(few_images, tmp_path / name, engine=name, **quick)
        assert (report.engine, report.computed) == (name, 6)
        assert str(report).endswith(f"Engine: {name}.")
        caches[name] = FeatureCache(tmp_path / name)
    one, other = caches.values()
    assert one.recipes == other.recipes
    np.testing.assert_allclose(one.load().X, other.load().X, rtol=1e-3, atol=1e-4)
    for name, engine in itertools.permutations(caches, 2):
        again = extract_here(few_images, tmp_path / name, engine=engine, **quick)
        assert (again.computed, again.engine) == (0, "")


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=pytest.mark.long)])
def test_running_openvino_tells_nobody(precision: str, few_images: Path, tmp_path: Path) -> None:
    """OpenVINO reports each import, each conversion and what is quantised, unless it is kept from it."""
    if precision not in openvino_engine.precisions_here():
        pytest.skip("the processor has no int8")
    from tests.test_import import run_python

    code = f"""
import socket, sys
# no Exception, which who tells might catch
def refuse(*arguments, **options): raise KeyboardInterrupt("a connection was made")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import openvino_telemetry
openvino_telemetry.Telemetry.__init__ = openvino_telemetry.Telemetry.send_event = refuse
from tests.pictures import extract_here
from pathlib import Path
print(extract_here(Path({str(few_images)!r}), Path({str(tmp_path)!r}), engine="openvino",
                   base="mobilenet_0.25", image_size=32, precision={precision!r}).engine)
"""
    assert run_python(code, cwd=Path(__file__).parents[2]).strip() == "openvino"


def test_the_command_takes_an_engine(few_images: Path, tmp_path: Path, cli: Cli) -> None:
    line = ("extract", few_images, "--cache", tmp_path, "--base", "mobilenet_0.25")
    quick = ("--weights", "random", "--image-size", 32)
    report = last_json(cli(*line, *quick, "--engine", "keras", "--json"))
    assert report["engine"] == "keras"
    if "float16" not in openvino_engine.precisions_here():
        refused = cli(*line, *quick, "--precision", "float16", "--engine", "openvino", check=False)
        assert "cannot compute in float16 on this processor" in one_line(refused)
