"""Learning rates: along the steps of a stage, and down the layers of a base."""

from collections.abc import Mapping
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.finetuning.graph import Graph, depths
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.schedule import rate_share


def rate_at(step: int, steps: int, settings: Settings) -> float:
    """Return the share of the learning rate at a step of a stage, see `bottleneck.heads.schedule`.

    Parameters
    ----------
    step : int
        From 0.
    steps : int
        Steps of the whole stage.
    settings : Settings

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> settings = Settings(warm_up=0.2)
    >>> [round(rate_at(step, 10, settings), 3) for step in (0, 1, 2, 6, 9)]
    [0.1, 0.55, 1.0, 0.5, 0.038]
    >>> rate_at(9, 10, Settings(warm_up=0, decay="none"))
    1.0
    """
    return rate_share(step, steps, settings.warm_up, cosine=settings.decay == "cosine")


def layer_rates(graph: Graph, layer_decay: float) -> dict[int, float]:
    """Return the learning-rate factor of each variable, by the variable's `id`.

    The factor is 1 in the head. In the base it is multiplied by `layer_decay` from one layer to the layer
    below, see `bottleneck.finetuning.graph.depths`.
    """
    depth = depths(graph.body)
    rates = {id(variable): 1.0 for variable in graph.head.variables}
    for layer in graph.body.layers:
        for variable in layer.variables:
            rates[id(variable)] = layer_decay ** depth[layer.name]
    return rates


def make_optimizer(model: Any, rates: Mapping[int, float], settings: Settings) -> Any:
    """Make an Adam optimiser that scales the step of each variable, not its gradient.

    Adam cancels the scale of a gradient, so a lower learning rate of a layer has to scale its update.

    Parameters
    ----------
    model : keras.Model
        Its trainable variables are trained.
    rates : dict
        See `layer_rates`.
    settings : Settings

    Returns
    -------
    keras.optimizers.Optimizer
        Adam (Kingma and Ba 2015) with decoupled weight decay of the kernels (Loshchilov and Hutter 2019).
        The caller sets the learning rate at each step.
    """
    keras = load_keras()
    scales = [rates[id(variable)] for variable in model.trainable_variables]
    decays = [len(variable.shape) > 1 for variable in model.trainable_variables]

    class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc, name-defined]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            rate = keras.ops.cast(learning_rate, variable.dtype) * scales[index]
            if settings.weight_decay and decays[index]:
                self.assign_sub(variable, variable * (rate * settings.weight_decay))
            super().update_step(gradient, variable, rate)

    optimizer = LayerwiseAdam(1.0, global_clipnorm=settings.clip_norm)
    if settings.precision == "float16":
        # float16 gradients underflow unless the loss is scaled (Micikevicius et al. 2018)
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer
