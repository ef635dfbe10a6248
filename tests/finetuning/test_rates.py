"""Learning rates along the steps, and down the layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.bases.backend import load_keras
from bottleneck.finetuning.rates import make_optimizer, rate_at
from bottleneck.finetuning.settings import Settings


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from(["cosine", "none"]))
def test_the_rate_rises_to_its_value_and_never_beyond(
    steps: int, warm_up: float, decay: str
) -> None:
    settings = Settings(warm_up=warm_up, decay=decay)  # type: ignore[arg-type]
    rates = [rate_at(step, steps, settings) for step in range(steps)]
    turn = int(np.argmax(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: turn + 1] == sorted(rates[: turn + 1])
    assert rates[turn:] == sorted(rates[turn:], reverse=True)


def two_layers() -> object:
    keras = load_keras()
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="low"), keras.layers.Dense(1, name="high")]
    )
    for layer in model.layers:
        layer.set_weights([np.ones_like(values) for values in layer.get_weights()])
    return model


def moved(settings: Settings, scale: float, loss_times: float = 1.0) -> list[float]:
    """How far one step moves the kernel and bias of the lower and the upper layer."""
    model = two_layers()
    rates = {
        id(variable): scale if layer.name == "low" else 1.0
        for layer in model.layers
        for variable in layer.variables
    }
    optimizer = make_optimizer(model, rates, settings)
    optimizer.learning_rate = 0.01
    gradients = [np.full(v.shape, loss_times, np.float32) for v in model.trainable_variables]
    optimizer.apply(load_keras().tree.map_structure(load_keras().ops.convert_to_tensor, gradients))
    return [float(1 - np.asarray(v).mean()) for v in model.trainable_variables]


@pytest.mark.parametrize("loss_times", [1.0, 1000.0])
def test_a_layers_step_is_scaled_and_not_its_gradient(loss_times: float) -> None:
    # Adam's first step is the rate itself, whatever the gradient
    low, low_bias, high, high_bias = moved(Settings(), 0.25, loss_times)
    assert [high, high_bias] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert [low, low_bias] == pytest.approx([0.0025, 0.0025], rel=1e-3)


def test_weight_decay_scales_with_the_rate_of_the_layer() -> None:
    plain, decayed = moved(Settings(), 0.5), moved(Settings(weight_decay=0.1), 0.5)
    gained = [b - a for a, b in zip(plain, decayed, strict=True)]
    assert gained == pytest.approx([0.0005, 0, 0.001, 0], abs=2e-6)
