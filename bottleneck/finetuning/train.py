"""Training stage by stage and epoch by epoch, with a checkpoint after each epoch."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.extraction.progress import Progress
from bottleneck.finetuning.batches import find_batch_size, make_batches
from bottleneck.finetuning.checkpoint import Epoch, State, Weights, write_checkpoint
from bottleneck.finetuning.graph import Graph, Unfrozen, freeze_but
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.model import compile_model, make_model, predict, train_epoch
from bottleneck.finetuning.prepare import PreparedRun
from bottleneck.finetuning.rates import layer_rates, rate_at
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.epochs import steps
from bottleneck.runs.metrics import measure

_log = logging.getLogger("bottleneck")


def train(
    prepared: PreparedRun,
    data: TrainingData,
    state: State,
    folder: Path,
    progress: Progress,
    report_epoch: Callable[[int, Epoch], None],
) -> None:
    """Train all stages, starting from a state.

    Each stage starts from the weights after the best epoch of the stage before. In the end the graph has
    the weights after the best epoch of all stages.

    Parameters
    ----------
    prepared : PreparedRun
    data : TrainingData
    state : State
        Updated after each epoch.
    folder : Path
        Where the checkpoint is written after each epoch.
    progress : Progress
    report_epoch : callable
        Called after each epoch with its number, counted over all stages, and its results.
    """
    graph, stages, unfrozen = prepared.graph, prepared.stages, prepared.unfrozen
    variables = _trained_variables(graph, unfrozen[-1])
    if state.weights:
        _log.info(
            "Continuing after %d of %d epochs.",
            len(state.history),
            sum(stage.epochs for stage in stages),
        )
        _assign(variables, state.weights)
    initial = _copy(variables)
    rates = layer_rates(graph, prepared.settings.layer_decay)
    while state.stage < len(stages) and not state.stopped:
        number = state.stage
        freeze_but(graph, unfrozen[number].layers)
        for entry in _train_stage(prepared, data, rates, state, progress):
            write_checkpoint(folder, state)
            report_epoch(len(state.history), entry)
        # the next stage starts from the best epoch of this one
        _assign(variables, state.stage_best or initial)
        if not state.stopped:
            state.stage, state.epoch = number + 1, 0
            state.weights, state.optimizer, state.stage_best = _copy(variables), [], []
            initial = state.weights
        write_checkpoint(folder, state)
    _assign(variables, state.best or initial)


def _train_stage(
    prepared: PreparedRun,
    data: TrainingData,
    rates: Mapping[int, float],
    state: State,
    progress: Progress,
) -> Iterator[Epoch]:
    """Train the epochs of the state's stage, and update the state after each."""
    graph, settings = prepared.graph, prepared.settings
    stage, deepest = prepared.stages[state.stage], prepared.unfrozen[-1]
    train, val = data.indices("train"), data.indices("val")
    per_epoch = steps(len(train), settings.batch_size)
    total = per_epoch * stage.epochs
    model = make_model(graph, data.cut, deepest, settings)
    size = find_batch_size(model, data, settings)
    optimizer = compile_model(model, rates, settings)
    if state.optimizer:
        _assign(optimizer.variables, state.optimizer)
    name = f"stage {state.stage + 1}: {stage}"
    while state.epoch < stage.epochs and not _has_converged(state, settings):
        started = time.perf_counter()
        done = len(state.history)
        first = state.epoch * per_epoch
        _reseed(graph, settings.seed, done)
        rng = np.random.default_rng([settings.seed, done])
        parts = np.array_split(rng.permutation(train), per_epoch)

        def rate(step: int, first: int = first) -> float:
            progress(name, first + step, total)
            return stage.learning_rate * rate_at(first + step, total, settings)

        batches = make_batches(data, parts, _view_of(done, settings), settings, size)
        loss = train_epoch(model, batches, rate)
        progress(name, first + per_epoch, total)
        probabilities = predict(model, data, val, settings.batch_size)
        if not (math.isfinite(loss) and np.isfinite(probabilities).all()):
            what = "the probabilities" if math.isfinite(loss) else "the loss"
            where = f"stage {state.stage + 1} ({stage}), epoch {state.epoch + 1}"
            state.stopped = f"{what} became infinite or NaN in {where}"
            return
        metrics = measure(data.y[val], probabilities)
        entry = Epoch(
            stage=state.stage + 1,
            epoch=state.epoch + 1,
            learning_rate=stage.learning_rate * rate_at(first + per_epoch - 1, total, settings),
            loss=loss,
            val=metrics,
            seconds=round(time.perf_counter() - started, 3),
        )
        weights = _copy(_trained_variables(graph, deepest))
        _update(state, entry, weights, _copy(optimizer.variables))
        yield entry
        _log.info(
            "stage %d, epoch %d of %d: loss %.4f, validation: accuracy %.4f, log loss %.4f (%.1f s)",
            *(entry.stage, entry.epoch, stage.epochs),
            *(loss, metrics.accuracy, metrics.log_loss, entry.seconds),
        )


def _has_converged(state: State, settings: Settings) -> bool:
    """Whether early stopping ends the stage: no better epoch for `patience` epochs."""
    best = state.best_of(state.stage + 1)
    if settings.patience is None or best is None or state.epoch - best.epoch < settings.patience:
        return False
    _log.info(
        "Early stopping: the validation loss has not improved for %d epochs.", settings.patience
    )
    return True


def _update(state: State, entry: Epoch, weights: Weights, optimizer: Weights) -> None:
    stage_best, best = state.best_of(entry.stage), state.best_of()
    state.epoch, state.weights, state.optimizer = entry.epoch, weights, optimizer
    if stage_best is None or entry.val.log_loss < stage_best.val.log_loss:
        state.stage_best = weights
    if best is None or entry.val.log_loss < best.val.log_loss:
        state.best = weights
    state.history.append(entry)


def _view_of(epoch: int, settings: Settings) -> int:
    """Return the view to train on in an epoch, counted from 0 over all stages."""
    if settings.augment == "none":
        return 0
    return 1 + (epoch % settings.views if settings.views else epoch)


def _trained_variables(graph: Graph, deepest: Unfrozen) -> list[Any]:
    """List every variable that a stage may change, including normalisation statistics."""
    layers = [layer for layer in graph.body.layers if layer.name in deepest.layers]
    return [weight for layer in [*layers, graph.head] for weight in layer.weights]


def _reseed(graph: Graph, seed: int, epoch: int) -> None:
    """Seed dropout and the like from the epoch alone, so that training can be resumed."""
    for number, layer in enumerate([*graph.body.layers, *graph.head.layers]):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            drawn = np.random.default_rng([seed, epoch, number]).integers(2**32, size=2)
            generator.state.assign(drawn.astype(np.uint32))


def _copy(variables: Sequence[Any]) -> Weights:
    # np.array copies: the backend may return the memory that training changes
    return [np.array(variable) for variable in variables]


def _assign(variables: Sequence[Any], values: Weights) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
