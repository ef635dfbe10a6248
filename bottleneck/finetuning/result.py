"""The files of a fine-tuned run: model, head, metrics, predictions, history."""

import dataclasses
import shlex
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.bases.backbone import finalize_statistics
from bottleneck.cache.location import location_of
from bottleneck.finetuning.checkpoint import State
from bottleneck.finetuning.graph import Graph, build_graph
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.model import make_model, predict
from bottleneck.finetuning.prepare import PreparedRun
from bottleneck.finetuning.report import write_history
from bottleneck.heads.record import find_versions, write_predictions
from bottleneck.runs.metrics import measure
from bottleneck.runs.run import HEAD, MODEL, TUNED, Run, TunedStage, Tuning, write_run
from bottleneck.runs.table import PREDICTIONS


def write_tuned_run(
    folder: Path, prepared: PreparedRun, data: TrainingData, model: Any, state: State
) -> Run:
    """Write the files of a fine-tuned run.

    Parameters
    ----------
    folder : Path
    prepared : PreparedRun
    data : TrainingData
    model : keras.Model
        From training inputs to logits, trained.
    state : State
        After the last epoch.
    """
    assert state.start is not None
    graph, settings = prepared.graph, prepared.settings
    if settings.precision != "float32":
        graph = _rebuild_in_float32(prepared)
        model = make_model(graph, data.cut, prepared.unfrozen[-1], settings)
    probabilities = predict(model, data, np.arange(len(data.y)), settings.batch_size)
    tuned = {name: measure(data.y[part], probabilities[part]) for name, part in data.splits.items()}
    before = prepared.run.metrics
    best = TUNED if state.history and tuned["val"].rank > before["val"].rank else HEAD
    tuning = Tuning(
        source=location_of(prepared.source),
        started_from=prepared.started_from,
        # the value in run.json, which readers of older runs know
        trained_on="pictures" if data.cut is None else f"activations at {data.cut}",
        stages=tuple(_summarise_stages(prepared, state)),
        settings=dataclasses.asdict(settings),
        head_metrics=before,
        tuned_metrics=tuned,
        best=best,
        stopped=state.stopped,
    )
    run = dataclasses.replace(
        prepared.run,
        weights_paths=(prepared.wanted.weights.name,),
        metrics=tuned if best == TUNED else before,
        versions=find_versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cache=location_of(prepared.cache),
        tuning=tuning,
    )
    graph.body.trainable = graph.head.trainable = True  # who loads the model decides what to freeze
    graph.whole().save(folder / MODEL)
    for file in prepared.source.glob("head.*"):
        shutil.copyfile(file, folder / file.name)
    if best == TUNED:
        write_predictions(folder, prepared.split, prepared.run.classes, probabilities)
    else:
        shutil.copyfile(prepared.source / PREDICTIONS, folder / PREDICTIONS)
    write_history(folder, run, tuning, state.start, state.history)
    write_run(folder, run)
    return run


def _rebuild_in_float32(prepared: PreparedRun) -> Graph:
    """Rebuild the graph in float32, because not every machine supports half precision."""
    graph, wanted, recipe = prepared.graph, prepared.wanted, prepared.recipe
    size = recipe.image_size
    rebuilt = build_graph(
        wanted.base, wanted.weights, recipe.tap, recipe.pool, size, "float32", graph.head
    )
    rebuilt.body.set_weights(graph.body.get_weights())
    finalize_statistics(rebuilt.body)
    return rebuilt


def _summarise_stages(prepared: PreparedRun, state: State) -> Iterator[TunedStage]:
    before = state.start
    for number, (stage, part) in enumerate(zip(prepared.stages, prepared.unfrozen, strict=True), 1):
        best = state.best_of(number)
        if best is None or before is None:
            return  # training ended before this stage
        yield TunedStage(
            stage=str(stage),
            trainable=part.trainable,
            frozen=part.frozen,
            epochs=sum(entry.stage == number for entry in state.history),
            best_epoch=best.epoch,
            before=before,
            after=best.val,
        )
        before = best.val
