"""Heads as layers of a network: the same probabilities."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.heads.contract import Head, Sample
from bottleneck.heads.layers import LAYERED, as_layers, has_layers
from bottleneck.heads.registry import HEADS, complete_params, find_head
from tests.heads.blobs import as_maps, blobs


def some(count: int, classes: int, seed: int, *, maps: bool = False) -> Sample:
    sample = blobs(count, seed)
    X = as_maps(sample).X if maps else sample.X
    return Sample(X, sample.y % classes)


def fitted(name: str, classes: int, *, maps: bool = False) -> Head:
    kind = find_head(name)
    epochs = {"epochs": 3} if name in {"softmax", "dense", "conv"} else {}
    train, val = some(90, classes, 1, maps=maps), some(40, classes, 2, maps=maps)
    return kind.fit(train, val, classes, 0, complete_params(kind, epochs))


def as_one(head: Head, X: NDArray[np.float32]) -> NDArray[np.float32]:
    keras = load_keras()
    layers = as_layers(head, X.shape[1:])
    return keras.ops.convert_to_numpy(keras.ops.softmax(layers.predict_on_batch(X)))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "name",
    [*(name for name in LAYERED if name != "conv"), "sklearn.svm.LinearSVC"],
)
def test_linear_and_keras_heads_give_the_same_probabilities_as_layers(
    name: str, classes: int
) -> None:
    head, X = fitted(name, classes), some(50, classes, 3).X
    assert as_one(head, X) == pytest.approx(head.predict_proba(X.copy()), abs=1e-5)


@pytest.mark.parametrize("name", ["ridge", "dense", "conv"])
def test_heads_on_maps_take_maps_as_layers_too(name: str) -> None:
    head, X = fitted(name, 3, maps=True), some(50, 3, 3, maps=True).X
    assert as_one(head, X) == pytest.approx(head.predict_proba(X.copy()), abs=1e-5)


# boosting takes long, and is trees as forests are
@pytest.mark.parametrize("name", sorted({*HEADS} - {*LAYERED} - {"boosting"}))
def test_heads_of_another_kind_are_no_layers(name: str) -> None:
    head = fitted(name, 3)
    assert not has_layers(head)
    assert as_layers(head, (20,)) is None
