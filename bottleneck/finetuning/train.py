"""Stage by stage, epoch by epoch, with a checkpoint after each."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.extraction.progress import Progress
from bottleneck.finetuning.checkpoint import Epoch, State, Weights, write_checkpoint
from bottleneck.finetuning.devices import devices, on_devices
from bottleneck.finetuning.feed import Material, in_order
from bottleneck.finetuning.graph import Graph, Unfrozen, freeze_but
from bottleneck.finetuning.rates import layer_rates, make_optimizer, rate_at
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import Stage
from bottleneck.heads.epochs import class_weights, steps
from bottleneck.runs.metrics import measure

_log = logging.getLogger("bottleneck")


class Batch(NamedTuple):
    """What one step is made of.

    Attributes
    ----------
    inputs : ndarray, shape (size, ...)
        What the feed gives. Those beyond `images` are there to fill up.
    labels : ndarray of float32, shape (size, classes)
        One-hot.
    weights : ndarray of float32, shape (size,)
        Of what fills up: 0.
    images : int
    """

    inputs: NDArray[Any]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    images: int


def make_model(graph: Graph, cut: str | None, deepest: Unfrozen, settings: Settings) -> Any:
    """Make the model that is trained: from what the feed gives to values.

    Parameters
    ----------
    graph : Graph
    cut : str or None
        Where the feed's activations are taken; None where it gives pictures.
    deepest : Unfrozen
        What the last stage trains.
    settings : Settings
    """
    if cut is None:
        return graph.from_pixels(deepest.cut if settings.train_batchnorm else None)
    return graph.above(cut, learning=settings.train_batchnorm)


def compile_model(model: Any, rates: Mapping[int, float], settings: Settings) -> Any:
    """Make a model ready to be trained, and give its optimiser."""
    keras = load_keras()
    optimizer = make_optimizer(model, rates, settings)
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        ),
        # a stage is a few hundred steps: compiling it with XLA takes longer than it saves
        jit_compile=False,
        auto_scale_loss=False,
    )
    return optimizer


def batch_size_of(model: Any, material: Material, settings: Settings) -> int:
    """Rows of a batch: what an epoch's batches come to when all are about as large, a multiple of the devices."""
    images = len(material.numbers("train"))
    rows = -(-images // steps(images, settings.batch_size))
    return -(-rows // devices(model)) * devices(model)


def train(
    state: State,
    graph: Graph,
    material: Material,
    stages: Sequence[Stage],
    unfrozen: Sequence[Unfrozen],
    settings: Settings,
    folder: Path,
    progress: Progress,
    tell: Callable[[int, Epoch], None],
) -> None:
    """Train stage by stage, going on from where it stands.

    Each stage starts from the weights after the best epoch of the one before. When it ends the graph has
    the weights after the best epoch of all.

    Parameters
    ----------
    state : State
        Brought up to date after each epoch.
    graph : Graph
    material : Material
    stages : sequence of Stage
    unfrozen : sequence of Unfrozen
        What each stage trains.
    settings : Settings
    folder : Path
        A checkpoint is written into it after each epoch.
    progress : Progress
    tell : callable
        Called after each epoch with its number, counted over all stages, and what it did.
    """
    moved = _moved(graph, unfrozen[-1])
    if state.weights:
        _log.info(
            "Going on after %d of %d epochs.",
            len(state.history),
            sum(stage.epochs for stage in stages),
        )
        _assign(moved, state.weights)
    initial = _values(moved)
    rates = layer_rates(graph, settings.layer_decay)
    while state.stage < len(stages) and not state.stopped:
        number = state.stage
        freeze_but(graph, unfrozen[number].layers)
        model = make_model(graph, material.cut, unfrozen[-1], settings)
        for entry in _train_stage(
            graph, model, rates, material, stages[number], moved, state, settings, progress
        ):
            write_checkpoint(folder, state)
            tell(len(state.history), entry)
        # the stage is over: its best epoch is where the next one starts
        _assign(moved, state.stage_best or initial)
        if not state.stopped:
            state.stage, state.epoch = number + 1, 0
            state.weights, state.optimizer, state.stage_best = _values(moved), [], []
            initial = state.weights
        write_checkpoint(folder, state)
    _assign(moved, state.best or initial)


def predict(
    model: Any, material: Material, numbers: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32]:
    """Probabilities of the plain view of images, shape (n, classes).

    Parameters
    ----------
    model : keras.Model
        From what the feed gives to values.
    material : Material
    numbers : ndarray of int64, shape (n,)
        Of the images in the feed.
    batch_size : int
    """
    keras = load_keras()
    parts = in_order(len(numbers), batch_size)
    found = np.empty((len(numbers), material.classes), np.float32)
    feed = material.feed.batches([numbers[part] for part in parts], 0)
    for part, inputs in zip(parts, feed, strict=True):
        # always of one size: for another the graph would be traced anew
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], batch_size - len(inputs), axis=0)])
        # of several devices each is given all of them, and they are told one after the other
        values = keras.ops.convert_to_numpy(model.predict_on_batch(padded))[: len(inputs)]
        odds = np.exp(values - values.max(axis=1, keepdims=True))
        found[part] = odds / odds.sum(axis=1, keepdims=True)
    return found


def _train_stage(
    graph: Graph,
    model: Any,
    rates: Mapping[int, float],
    material: Material,
    stage: Stage,
    moved: Sequence[Any],
    state: State,
    settings: Settings,
    progress: Progress,
) -> Iterator[Epoch]:
    """Train epoch by epoch, and bring the state up to date after each."""
    train, val = material.numbers("train"), material.numbers("val")
    per_epoch = steps(len(train), settings.batch_size)
    total = per_epoch * stage.epochs
    size = batch_size_of(model, material, settings)
    optimizer = compile_model(model, rates, settings)
    if state.optimizer:
        _assign(optimizer.variables, state.optimizer)
    name = f"stage {state.stage + 1}: {stage}"
    while state.epoch < stage.epochs and not _is_enough(state, settings):
        started = time.perf_counter()
        done = len(state.history)
        first = state.epoch * per_epoch
        _reseed(graph, settings.seed, done)
        rng = np.random.default_rng([settings.seed, done])
        parts = np.array_split(rng.permutation(train), per_epoch)

        def rate(step: int, first: int = first) -> float:
            progress(name, first + step, total)
            return stage.learning_rate * rate_at(first + step, total, settings)

        batches = make_batches(material, parts, _view(done, settings), settings, size)
        loss = fit_epoch(model, batches, rate)
        progress(name, first + per_epoch, total)
        odds = predict(model, material, val, settings.batch_size)
        if not (math.isfinite(loss) and np.isfinite(odds).all()):
            what = (
                "probabilities are no numbers"
                if math.isfinite(loss)
                else f"the loss became {loss:g}"
            )
            state.stopped = f"{what} in stage {state.stage + 1} ({stage}), epoch {state.epoch + 1}"
            return
        found = measure(material.y[val], odds)
        entry = Epoch(
            stage=state.stage + 1,
            epoch=state.epoch + 1,
            learning_rate=stage.learning_rate * rate_at(first + per_epoch - 1, total, settings),
            loss=loss,
            val=found,
            seconds=round(time.perf_counter() - started, 3),
        )
        _enter(state, entry, _values(moved), _values(optimizer.variables))
        yield entry
        _log.info(
            "stage %d, epoch %d of %d: loss %.4f, validation: accuracy %.4f, log loss %.4f (%.1f s)",
            *(entry.stage, entry.epoch, stage.epochs),
            *(loss, found.accuracy, found.log_loss, entry.seconds),
        )


def _is_enough(state: State, settings: Settings) -> bool:
    """Whether a stage ends before its time, for nothing became better for so many epochs."""
    best = state.best_of(state.stage + 1)
    if settings.patience is None or best is None or state.epoch - best.epoch < settings.patience:
        return False
    _log.info("No better for %d epochs: the stage ends.", settings.patience)
    return True


def _enter(state: State, entry: Epoch, weights: Weights, optimizer: Weights) -> None:
    stage_best, best = state.best_of(entry.stage), state.best_of()
    state.epoch, state.weights, state.optimizer = entry.epoch, weights, optimizer
    if stage_best is None or entry.val.log_loss < stage_best.val.log_loss:
        state.stage_best = weights
    if best is None or entry.val.log_loss < best.val.log_loss:
        state.best = weights
    state.history.append(entry)


def fit_epoch(model: Any, batches: Iterable[Batch], rate: Callable[[int], float]) -> float:
    """Train on batches, and stop where the loss is no number any more.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    batches : iterable of Batch
    rate : callable
        Gives the learning rate of a step, from 0.

    Returns
    -------
    float
        The mean loss over images; NaN or infinity where it was stopped.
    """
    total, images = 0.0, 0
    for step, batch in enumerate(batches):
        # Not model.fit: it fetches from another thread, where an error or an interruption loses its meaning.
        model.optimizer.learning_rate = rate(step)
        data = (batch.inputs, batch.labels, batch.weights)
        if step == 0 and devices(model) > 1:
            model.test_on_batch(*data)  # Keras builds the loss of whole batches only
        loss = float(np.mean(model.train_on_batch(*on_devices(model, data))))
        if not math.isfinite(loss):
            return loss
        total, images = total + loss * batch.images, images + batch.images
    return total / images


def make_batches(
    material: Material,
    parts: Sequence[NDArray[np.int64]],
    view: int,
    settings: Settings,
    size: int,
) -> Iterator[Batch]:
    """Make batches of images, all of one size: for another the graph would be traced anew.

    Parameters
    ----------
    material : Material
    parts : sequence of ndarray of int64
        The images of each batch, by their numbers in the feed; at most `size`.
    view : int
    settings : Settings
    size : int
        Rows of each batch, see `batch_size_of`.
    """
    weights = class_weights(
        material.y[material.places["train"]], material.classes, settings.class_weight
    )
    one_hot = np.eye(material.classes, dtype=np.float32)
    for part, inputs in zip(parts, material.feed.batches(parts, view), strict=True):
        filled = np.concatenate([np.arange(len(part)), np.zeros(size - len(part), np.int64)])
        y = material.y[part][filled]
        # the loss is a mean over all rows, those included that do not count
        counted = weights[y] * (size / len(part)) * (np.arange(size) < len(part))
        yield Batch(inputs[filled], one_hot[y], counted.astype(np.float32), len(part))


def _view(epoch: int, settings: Settings) -> int:
    """The view an epoch is trained on, counted from 0 over all stages."""
    if settings.augment == "none":
        return 0
    return 1 + (epoch % settings.views if settings.views else epoch)


def _moved(graph: Graph, deepest: Unfrozen) -> list[Any]:
    """Every variable that a stage may change, statistics of normalisation too."""
    layers = [layer for layer in graph.body.layers if layer.name in deepest.layers]
    return [weight for layer in [*layers, graph.head] for weight in layer.weights]


def _reseed(graph: Graph, seed: int, epoch: int) -> None:
    """Let what is drawn in an epoch, such as dropout, depend on it alone: so it can be resumed."""
    for number, layer in enumerate([*graph.body.layers, *graph.head.layers]):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            drawn = np.random.default_rng([seed, epoch, number]).integers(2**32, size=2)
            generator.state.assign(drawn.astype(np.uint32))


def _values(variables: Sequence[Any]) -> Weights:
    # a copy: what the backend gives may be the very memory that is trained on
    return [np.array(variable) for variable in variables]


def _assign(variables: Sequence[Any], values: Weights) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
