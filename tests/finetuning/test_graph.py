"""Base and head as one graph, and what a stage trains of it."""

import numpy as np
import pytest

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import preprocess
from bottleneck.bases.registry import find_base
from bottleneck.bases.split import split_at
from bottleneck.bases.weights import find_weights
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.graph import Graph, build_graph, depths, freeze_but, unfreeze
from bottleneck.finetuning.stages import parse_stages


@pytest.fixture(scope="module")
def graph() -> Graph:
    keras = load_keras()
    head = keras.Sequential([keras.Input((2048,)), keras.layers.Dense(3)], name="head")
    base = find_base("inception_v3")
    return build_graph(base, find_weights("random"), "mixed10", "avg", 75, "float32", head)


def test_the_graph_above_a_cut_gives_the_same_output(graph: Graph) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 75, 75, 3), dtype=np.uint8)
    lower, _ = split_at(graph.base, graph.body, "mixed8")
    activations = lower(preprocess(pixels, graph.base.preprocessing), training=False)
    whole = graph.from_pixels().predict_on_batch(pixels)
    above = graph.above("mixed8").predict_on_batch(np.asarray(activations))
    assert above == pytest.approx(whole, abs=1e-5)
    odds = graph.whole().predict_on_batch(pixels)
    assert odds.sum(axis=1) == pytest.approx(1)
    assert odds.argmax(axis=1).tolist() == whole.argmax(axis=1).tolist()


def test_stages_train_all_above_their_tap_and_are_cut_below(graph: Graph) -> None:
    stages = parse_stages("head:1@1e-3,mixed9:1@1e-4,40:1@1e-4,mixed7:1@1e-5")
    alone, top, last, deep = unfreeze(graph, stages)
    assert (len(alone.layers), alone.trainable) == (0, 2048 * 3 + 3)
    assert [part.cut for part in (top, last, deep)] == ["mixed9", "mixed8", "mixed7"]
    assert len(last.layers) == 40
    assert alone.layers < top.layers < last.layers < deep.layers
    # without its top InceptionV3 has 21,802,784 parameters, 34,432 of which are statistics
    for part in (alone, top, last, deep):
        assert part.trainable + part.frozen == 21_802_784 + 2048 * 3 + 3


def test_layers_are_as_deep_as_there_are_kernels_above_them(graph: Graph) -> None:
    found = depths(graph.body)
    assert found["mixed10"] == 1
    # mixed9 and mixed10 have three convolutions one after the other at most, and each counts
    assert [found[f"mixed{n}"] for n in (9, 8, 7)] == [4, 7, 11]
    assert found["conv2d_93"] == found["batch_normalization_93"] == 1


def test_frozen_are_all_layers_but_those_named(graph: Graph) -> None:
    (part,) = unfreeze(graph, parse_stages("mixed9:1@1e-4"))
    freeze_but(graph, part.layers)
    counted = sum(int(np.prod(v.shape)) for v in graph.from_pixels().trainable_variables)
    assert counted == part.trainable


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("mixed99:1@1e-4", "has no tap 'mixed99'; did you mean mixed"),
        ("mixed7:1@1e-4,mixed9:1@1e-5", "trains less of the base than the stage before"),
        ("conv2d_80:1@1e-4", "cannot be cut at conv2d_80"),
        ("999:1@1e-4", "has 310 up to mixed10"),
    ],
)
def test_invalid_stages_are_an_error(graph: Graph, stages: str, said: str) -> None:
    with pytest.raises(BottleneckError, match=said):
        unfreeze(graph, parse_stages(stages))


def test_a_tap_above_that_of_the_features_is_refused_by_name() -> None:
    keras = load_keras()
    head = keras.Sequential([keras.Input((256,)), keras.layers.Dense(2)], name="head")
    vgg = find_base("vgg16")
    graph = build_graph(vgg, find_weights("random"), "block3_pool", "avg", 32, "float32", head)
    with pytest.raises(BottleneckError, match="block5_pool lies above block3_pool"):
        unfreeze(graph, parse_stages("block5_pool:1@1e-4"))
