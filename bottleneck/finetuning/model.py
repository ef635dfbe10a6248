"""The Keras model that is trained: build and compile it, train an epoch, predict."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.finetuning.batches import Batch, divide_in_order
from bottleneck.finetuning.devices import count_devices, split_over_devices
from bottleneck.finetuning.graph import Graph, Unfrozen
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.rates import make_optimizer
from bottleneck.finetuning.settings import Settings


def make_model(graph: Graph, cut: str | None, deepest: Unfrozen, settings: Settings) -> Any:
    """Make the model that is trained, from the training inputs to logits.

    Parameters
    ----------
    graph : Graph
    cut : str or None
        The tap whose activations are the inputs; None if the inputs are images.
    deepest : Unfrozen
        What the last stage trains.
    settings : Settings
    """
    if cut is None:
        return graph.from_pixels(deepest.cut if settings.train_batchnorm else None)
    return graph.above(cut, learning=settings.train_batchnorm)


def compile_model(model: Any, rates: Mapping[int, float], settings: Settings) -> Any:
    """Compile a model for training and return its optimiser."""
    keras = load_keras()
    optimizer = make_optimizer(model, rates, settings)
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        ),
        # a stage has a few hundred steps: XLA takes longer to compile than it saves
        jit_compile=False,
        auto_scale_loss=False,
    )
    return optimizer


def train_epoch(model: Any, batches: Iterable[Batch], rate: Callable[[int], float]) -> float:
    """Train on batches; stop as soon as the loss is not finite.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    batches : iterable of Batch
    rate : callable
        Returns the learning rate of a step, counted from 0.

    Returns
    -------
    float
        Mean loss over the images; NaN or infinity if training stopped.
    """
    total, images = 0.0, 0
    for step, batch in enumerate(batches):
        # Not model.fit: it reads batches in another thread, which hides errors and Ctrl-C.
        model.optimizer.learning_rate = rate(step)
        data = (batch.inputs, batch.labels, batch.weights)
        if step == 0 and count_devices(model) > 1:
            model.test_on_batch(*data)  # Keras can build the loss only from whole batches
        loss = float(np.mean(model.train_on_batch(*split_over_devices(model, data))))
        if not math.isfinite(loss):
            return loss
        total, images = total + loss * batch.images, images + batch.images
    return total / images


def predict(
    model: Any, data: TrainingData, indices: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32]:
    """Predict class probabilities from the plain view of images.

    Parameters
    ----------
    model : keras.Model
        From training inputs to logits.
    data : TrainingData
    indices : ndarray of int64, shape (n,)
    batch_size : int

    Returns
    -------
    ndarray of float32, shape (n, classes)
    """
    keras = load_keras()
    parts = divide_in_order(len(indices), batch_size)
    probabilities = np.empty((len(indices), data.classes), np.float32)
    batches = data.inputs.batches([indices[part] for part in parts], 0)
    for part, inputs in zip(parts, batches, strict=True):
        # pad the last batch: another size would trace the graph again
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], batch_size - len(inputs), axis=0)])
        # with several devices, each one is given the whole batch and the results are concatenated
        logits = keras.ops.convert_to_numpy(model.predict_on_batch(padded))[: len(inputs)]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities[part] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
