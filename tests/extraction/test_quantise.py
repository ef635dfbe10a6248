"""Features computed in whole numbers of eight bits."""

import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import BottleneckError, FeatureCache
from bottleneck.cache.listing import Listing
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.prune import prune
from bottleneck.cache.quantised import quantised_paths
from bottleneck.cache.recipe import FILE_NAME as RECIPE
from bottleneck.cache.shard import shard_paths
from bottleneck.cache.verify import verify
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.engines import openvino_engine
from bottleneck.extraction.quantise import CALIBRATED_ON, calibration_images
from bottleneck.extraction.repair import repair
from bottleneck.extraction.request import make_request
from bottleneck.extraction.spec import FeatureSpec
from tests.pictures import extract_here
from tests.store import Store

SMALL = {"base": "mobilenet_0.25", "image_size": 32}
INT8 = {"precision": "int8", **SMALL}

pytestmark = pytest.mark.skipif(
    "int8" not in openvino_engine.precisions_here(), reason="the processor has no int8"
)


@pytest.fixture(scope="module")
def made(few_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("int8") / "cache"
    report = extract_here(few_images, cache, **INT8)
    assert (report.engine, report.computed) == ("openvino", 6)
    return cache


@pytest.fixture
def cache(made: Path, tmp_path: Path) -> Path:
    """A copy, elsewhere than where it was made."""
    return shutil.copytree(made, tmp_path / "cache")


@pytest.fixture
def never_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("quantised again")

    monkeypatch.setattr("bottleneck.extraction.quantise.quantise", refuse)


def graph_of(cache: Path) -> Path:
    (path,) = quantised_paths(cache)
    return path


def forget_features(cache: Path) -> None:
    for folder in FeatureCache(cache).folders:
        for shard in shard_paths(folder):
            shard.unlink()


def test_features_are_those_of_float32_but_for_the_rounding_under_a_recipe_of_their_own(
    cache: Path, few_images: Path
) -> None:
    assert extract_here(few_images, cache, **SMALL).computed == 6
    by_precision = {recipe.precision: recipe for recipe in FeatureCache(cache).recipes}
    rounded, single = by_precision["int8"], by_precision["float32"]
    assert rounded.random
    X, Y = (FeatureCache(cache).load(recipe).X for recipe in (rounded, single))
    cosines = (X * Y).sum(axis=1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1)
    assert cosines.min() > 0.9
    assert not np.allclose(X, Y, rtol=1e-4)


def test_what_listens_to_the_log_of_nncf_hears_what_it_heard(
    few_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino_engine.load_nncf()  # which makes a logger of its own kind
    handler = logging.NullHandler(logging.INFO)
    monkeypatch.setattr(logging.getLogger("nncf"), "handlers", [handler])
    extract_here(few_images, tmp_path / "cache", **INT8)
    assert handler.level == logging.INFO


def test_the_graph_is_made_once_for_a_cache(
    cache: Path, few_images: Path, never_quantised: None
) -> None:
    assert extract_here(few_images, cache, **INT8).computed == 0
    before = FeatureCache(cache).load().X
    forget_features(cache)
    assert extract_here(few_images, cache, **INT8).computed == 6
    assert FeatureCache(cache).load().X.tobytes() == before.tobytes()
    assert extract_here(few_images, cache, dtype="float16", **INT8).computed == 6
    assert len(quantised_paths(cache)) == 1


def test_another_tap_has_another_graph_and_recipes_stay_apart(
    cache: Path, few_images: Path
) -> None:
    before = FeatureCache(cache).load().X
    assert extract_here(few_images, cache, tap="conv_pw_3", **INT8).computed == 6
    assert len(quantised_paths(cache)) == 2
    assert FeatureCache(cache).load(recipe="conv_pw_13_relu").X.tobytes() == before.tobytes()


def test_a_graph_is_of_use_in_another_cache(
    cache: Path, few_images: Path, tmp_path: Path, never_quantised: None
) -> None:
    given = graph_of(cache)
    extract_here(few_images, tmp_path / "other", weights=given, **INT8)
    assert FeatureCache(tmp_path / "other").recipes == FeatureCache(cache).recipes
    assert graph_of(tmp_path / "other").read_bytes() == given.read_bytes()


def test_killed_between_the_graph_and_the_first_shard_it_goes_on_with_that_graph(
    few_images: Path, tmp_path: Path, never_quantised: None
) -> None:
    killed = tmp_path / "killed"
    code = f"""
import os, signal
from pathlib import Path
from bottleneck.extraction import execution
from tests.pictures import extract_here
execution.run_task = lambda *_, **options: os.kill(os.getpid(), signal.SIGKILL)
extract_here(Path({str(few_images)!r}), Path({str(killed)!r}), **{INT8!r})
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert process.returncode == -signal.SIGKILL
    left = graph_of(killed).read_bytes()
    assert extract_here(few_images, killed, **INT8).computed == 6
    assert graph_of(killed).read_bytes() == left
    verdict = verify(FeatureCache(killed))
    assert (verdict.rows, verdict.damages, verdict.gaps) == (6, (), ())


def test_it_is_calibrated_on_pictures_from_everywhere_and_on_none_that_is_tested_on(
    made: Path, few_images: Path, tmp_path: Path
) -> None:
    wanted = make_request(FeatureSpec(**SMALL, weights="random", precision="int8"))
    listing = FeatureCache(made).listing
    assert len(listing.rows) == 6
    assert len(calibration_images(listing, wanted, Settings())) == 4
    rows = [row for row in listing.rows if row.split == "train"]
    many = Listing(listing.root, tuple(rows) * CALIBRATED_ON)  # more than are taken
    assert len(calibration_images(many, wanted, Settings())) == CALIBRATED_ON


def test_pictures_that_cannot_be_used_are_passed_over_and_none_at_all_is_refused(
    made: Path, tmp_path: Path
) -> None:
    wanted = make_request(FeatureSpec(**SMALL, weights="random", precision="int8"))
    listing = FeatureCache(made).listing
    one, *others = listing.rows
    gone = [row._replace(path=f"gone/{row.path}") for row in others]
    assert len(calibration_images(Listing(listing.root, (one, *gone)), wanted, Settings())) == 1
    with pytest.raises(BottleneckError, match=r"none of the \d images .* leave --precision out"):
        calibration_images(Listing(listing.root, tuple(gone)), wanted, Settings())


def test_a_damaged_graph_is_named_and_nothing_is_computed_with_it(
    cache: Path, few_images: Path
) -> None:
    content = bytearray(graph_of(cache).read_bytes())
    content[-1000] ^= 1
    graph_of(cache).write_bytes(content)
    (damage,) = verify(FeatureCache(cache)).damages
    assert graph_of(cache).name in damage
    with pytest.raises(BottleneckError, match="is damaged, or was renamed; put back a copy"):
        extract_here(few_images, cache, **INT8)


def test_a_graph_that_is_lost_is_made_again_to_the_bit_from_the_same_pictures(
    cache: Path, few_images: Path
) -> None:
    lost = graph_of(cache).read_bytes()
    graph_of(cache).unlink()
    assert extract_here(few_images, cache, **INT8).computed == 0
    assert graph_of(cache).read_bytes() == lost


def test_a_run_predicts_with_the_graph_of_its_cache_and_says_when_it_is_gone(
    cache: Path, few_images: Path, tmp_path: Path, never_quantised: None
) -> None:
    run = bottleneck.fit_head(cache, out=tmp_path / "run").path
    expected = bottleneck.predict(run, few_images, cache=cache)
    found = bottleneck.predict(run, few_images)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    moved = graph_of(cache).rename(tmp_path / graph_of(cache).name)
    with pytest.raises(BottleneckError, match=r"weights are not where they were .* --weights"):
        bottleneck.predict(run, few_images)
    found = bottleneck.predict(run, few_images, weights=moved)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    with pytest.raises(
        BottleneckError, match=r"quantised graph, not with random; give .* with --weights"
    ):
        bottleneck.predict(run, few_images, weights="random")
    for what, refused in (
        ("exported in float32", lambda: bottleneck.export(run, tmp_path / "out")),
        ("trains float32 weights", lambda: bottleneck.finetune(run, out=tmp_path / "tuned")),
    ):
        with pytest.raises(BottleneckError, match=f"{what}, .* extract again without --precision"):
            refused()


def test_a_cache_that_was_moved_is_repaired_with_its_own_graph(
    cache: Path, made: Path, never_quantised: None
) -> None:
    before = FeatureCache(cache).load().X
    forget_features(cache)
    # what a shard says of the recipe is not there either: it goes by the folder
    assert sum(repair(cache).computed.values()) == 6
    assert FeatureCache(cache).load().X.tobytes() == before.tobytes()
    (folder,) = FeatureCache(cache).folders
    (folder / RECIPE).unlink()
    assert sum(repair(cache).computed.values()) == 0
    assert FeatureCache(cache).recipe_files[0].weights_path == str(graph_of(cache))
    graph_of(cache).unlink()
    forget_features(cache)
    with pytest.raises(BottleneckError, match=r"cannot read the quantised graph .* put it back"):
        repair(cache)


def test_a_graph_goes_with_the_last_recipe_that_is_made_with_it(
    cache: Path, few_images: Path
) -> None:
    extract_here(few_images, cache, dtype="float16", **INT8)
    first, second = FeatureCache(cache).recipes
    prune(FeatureCache(cache), recipe=first.id)
    assert len(quantised_paths(cache)) == 1
    freed = prune(FeatureCache(cache), recipe=second.id).bytes
    assert quantised_paths(cache) == []
    assert freed > 100_000


def test_the_graph_goes_where_its_cache_is(
    few_images: Path,
    made: Path,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    never_quantised: None,
) -> None:
    extract_here(few_images, f"{store.url}/cache", **INT8 | {"weights": graph_of(made)})
    monkeypatch.setenv("BOTTLENECK_MIRROR", str(tmp_path / "another machine"))
    assert extract_here(few_images, f"{store.url}/cache", **INT8).computed == 0
    assert graph_of(local_folder(f"{store.url}/cache")).read_bytes() == graph_of(made).read_bytes()


class TestRefused:
    def test_with_keras(self, few_images: Path, tmp_path: Path) -> None:
        with pytest.raises(BottleneckError, match="Keras cannot compute in int8; leave --engine"):
            extract_here(few_images, tmp_path, engine="keras", **INT8)
        assert quantised_paths(tmp_path) == []

    def test_of_several_taps_at_once(self) -> None:
        taps = ["conv_pw_3", "conv_pw_13"]
        with pytest.raises(BottleneckError, match=r"int8 takes one tap, .* not 2"):
            make_request(FeatureSpec("mobilenet", tap=taps, precision="int8"))

    def test_without_nncf(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bottleneck.extraction.spec.nncf_installed", lambda: False)
        with pytest.raises(BottleneckError, match=r"install bottleneck-features\[int8\]"):
            make_request(FeatureSpec("mobilenet", precision="int8"))

    def test_on_a_processor_without(
        self, few_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openvino_engine, "precisions_here", lambda: ("float32",))
        refused = "cannot compute in int8 on this processor, which has float32; leave --precision"
        with pytest.raises(BottleneckError, match=refused):
            extract_here(few_images, tmp_path, **INT8)

    def test_as_the_weights_of_another_precision_tap_or_size(
        self, made: Path, few_images: Path, tmp_path: Path
    ) -> None:
        graph = graph_of(made)
        with pytest.raises(BottleneckError, match="is a quantised graph; give --precision int8"):
            make_request(FeatureSpec("mobilenet_0.25", graph, image_size=32))
        for other in ({"tap": "conv_pw_3"}, {"image_size": 48}, {"base": "mobilenet_0.5"}):
            with pytest.raises(BottleneckError, match=r"is a graph of mobilenet_0.25 up to"):
                extract_here(few_images, tmp_path, **INT8 | {"weights": graph} | other)
        assert quantised_paths(tmp_path) == []
