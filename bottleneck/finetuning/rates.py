"""Learning rates: along the steps of a stage, and down the layers of a base."""

import math
from collections.abc import Mapping
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.finetuning.graph import Graph, depths
from bottleneck.finetuning.settings import Settings

# Where the warm-up starts, of the rate it leads to: nothing would be learnt from the first batch at 0.
_FIRST = 0.1


def rate_at(step: int, steps: int, settings: Settings) -> float:
    """Share of the learning rate at a step of a stage.

    Parameters
    ----------
    step : int
        From 0.
    steps : int
        Of the whole stage.
    settings : Settings

    Returns
    -------
    float
        From 0 to 1.

    Notes
    -----
    A linear warm-up (Goyal et al. 2017), then half a cosine (Loshchilov and Hutter 2017, SGDR).

    Examples
    --------
    >>> settings = Settings(warm_up=0.2)
    >>> [round(rate_at(step, 10, settings), 3) for step in (0, 1, 2, 6, 9)]
    [0.1, 0.55, 1.0, 0.5, 0.038]
    >>> rate_at(9, 10, Settings(warm_up=0, decay="none"))
    1.0
    """
    warm_up = int(settings.warm_up * steps)
    if step < warm_up:
        return _FIRST + (1 - _FIRST) * step / warm_up
    if settings.decay == "none":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def layer_rates(graph: Graph, layer_decay: float) -> dict[int, float]:
    """What the rate of each variable is multiplied by, by the variable's `id`.

    1 in the head; in the base it falls by `layer_decay` from one layer to the one below, see
    `bottleneck.finetuning.graph.depths`.
    """
    depth = depths(graph.body)
    rates = {id(variable): 1.0 for variable in graph.head.variables}
    for layer in graph.body.layers:
        for variable in layer.variables:
            rates[id(variable)] = layer_decay ** depth[layer.name]
    return rates


def make_optimizer(model: Any, rates: Mapping[int, float], settings: Settings) -> Any:
    """Make an optimiser that scales the step of each variable, not its gradient.

    Under Adam the scale of a gradient cancels out: a layer's rate can only be lowered by scaling what is
    added to its weights.

    Parameters
    ----------
    model : keras.Model
        Its trainable variables are the ones that are moved.
    rates : dict
        See `layer_rates`.
    settings : Settings

    Returns
    -------
    keras.optimizers.Optimizer
        Adam (Kingma and Ba 2015), its weight decay apart from the gradient and of kernels only (Loshchilov
        and Hutter 2019). The learning rate is for the caller to set at each step.
    """
    keras = load_keras()
    scales = [rates[id(variable)] for variable in model.trainable_variables]
    decays = [len(variable.shape) > 1 for variable in model.trainable_variables]

    class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc, name-defined]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            place = self._get_variable_index(variable)
            rate = keras.ops.cast(learning_rate, variable.dtype) * scales[place]
            if settings.weight_decay and decays[place]:
                self.assign_sub(variable, variable * (rate * settings.weight_decay))
            super().update_step(gradient, variable, rate)

    optimizer = LayerwiseAdam(1.0, global_clipnorm=settings.clip_norm)
    if settings.precision == "float16":
        # gradients of half precision vanish unless they are scaled up (Micikevicius et al. 2018)
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer
