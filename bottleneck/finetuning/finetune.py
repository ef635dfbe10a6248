"""`bottleneck finetune`: from a run whose head was fitted on the cache to one whose base is trained too."""

import contextlib
import dataclasses
import importlib.util
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
from filelock import FileLock, Timeout

from bottleneck.bases.backbone import finalize_statistics
from bottleneck.cache.location import location_of
from bottleneck.errors import BottleneckError
from bottleneck.extraction import conveyor
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.finetuning.checkpoint import FILE_NAME as CHECKPOINT
from bottleneck.finetuning.checkpoint import Epoch, State, read_checkpoint, write_checkpoint
from bottleneck.finetuning.devices import using
from bottleneck.finetuning.feed import Material
from bottleneck.finetuning.graph import Graph, build_graph
from bottleneck.finetuning.material import find_material
from bottleneck.finetuning.plan import PLAN, Mode, Plan, find_plan
from bottleneck.finetuning.prepare import Prepared, prepare, prove_assembled
from bottleneck.finetuning.report import write_history
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import AUTO, Stage, asked_stages
from bottleneck.finetuning.train import make_model, predict, train
from bottleneck.heads.fit import FittedRun, find_versions, write_predictions
from bottleneck.images.decode import MAX_PIXELS
from bottleneck.remote import is_url
from bottleneck.runs.metrics import measure
from bottleneck.runs.run import (
    HEAD,
    MODEL,
    TUNED,
    Run,
    TunedStage,
    Tuning,
    free_name,
    refuse_taken,
    run_path,
    send_run,
    write_run,
)
from bottleneck.runs.table import PREDICTIONS

_log = logging.getLogger("bottleneck")

# The folder that a run is in until all of it is there.
UNFINISHED = ".unfinished"

LOCK = ".lock"
# what goes when the run is there
_WORK = (CHECKPOINT, PLAN, LOCK)


def finetune(
    run: str | os.PathLike[str],
    stages: str | Sequence[Stage] = AUTO,
    settings: Settings | None = None,
    *,
    mode: Mode = "auto",
    out: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    devices: int | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    tensorboard: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> FittedRun:
    """Train a run's head and, from the top down, its base.

    It may be interrupted at any time: the same call goes on after the last epoch, and on a CPU ends with
    the same weights.

    Parameters
    ----------
    run : path
        The folder of a run that `bottleneck.fit_head` left.
    stages : str or sequence of Stage
        Such as ``mixed9:3@1e-4,mixed7:5@1e-5``: above which tap to train, for how many epochs, at which
        rate. ``auto`` goes down block by block at falling rates.
    settings : Settings, optional
        Everything else about training.
    mode : {"auto", "live", "cached"}
        Train on pictures; or on the activations at the deepest cut, which are computed once and kept in the
        cache. ``auto`` takes what is faster in all, and fits on the disk.
    out : path, optional
        The new run's folder, which must not exist; by default ``runs/RUN-finetuned``, with a number where that
        is taken.
    cache : path, optional
        Where the run's cache is now, if no longer where it was.
    weights : str or path, optional
        Where the base's weights are now. Other weights are refused.
    devices : int, optional
        How many GPUs share each batch; by default all there are.
    workers : int, optional
        Threads that read and decode; by default as many as there are cores.
    max_pixels : int
        Pictures with more pixels are refused as decompression bombs.
    tensorboard : path, optional
        A folder for TensorBoard's logs.
    progress : callable
        Called with the step's name, how many are done, and how many there are.

    Returns
    -------
    FittedRun
        With the network as ``model.keras``, and the head it started from. What is right more often in the
        validation split is used for predictions.

    Raises
    ------
    BottleneckError
        The run, its cache, pictures or weights are not to be had or have changed, there is no such stage, or no
        room on the disk. What was trained before is kept.

    Notes
    -----
    Gradual unfreezing and rates that fall with depth: Howard and Ruder 2018, Universal Language Model
    Fine-tuning for Text Classification.

    Examples
    --------
    >>> tuned = finetune(example_run, "mixed9:1@1e-5", out=example_folder / "tuned")
    >>> tuned.run.tuning.stages[0].stage, tuned.run.best in {"head", "fine-tuned"}
    ('mixed9:1@1e-05', True)
    """
    settings = settings or Settings()
    if mode not in get_args(Mode):
        raise BottleneckError(f"unknown mode {mode!r}: {', '.join(get_args(Mode))}")
    place = out if out is not None else free_name(Path("runs"), f"{Path(run).name}-finetuned")
    refuse_taken(place)
    path = run_path(place)
    decoding = conveyor.Settings(
        workers=conveyor.Settings().workers if workers is None else workers, max_pixels=max_pixels
    )
    with using(devices) as used:
        if used > 1 and settings.clip_norm is not None:
            raise BottleneckError(
                "--clip-norm clips the gradient of each device by itself; leave it out, or train with --devices 1"
            )
        prepared = prepare(run, asked_stages(stages), settings, cache, weights, progress)
        with _unfinished(path) as folder:
            plan = find_plan(folder, prepared, settings, mode)
            material = find_material(prepared, plan.cut, settings, decoding, progress)
            model = make_model(prepared.graph, plan.cut, prepared.unfrozen[-1], settings)
            state = read_checkpoint(folder)
            if state.start is None:
                state.start = prove_assembled(prepared, model, material, settings.batch_size)
                write_checkpoint(folder, state)
            with _tensorboard(tensorboard) as tell:
                train(
                    state,
                    prepared.graph,
                    material,
                    prepared.stages,
                    prepared.unfrozen,
                    settings,
                    folder,
                    progress,
                    tell,
                )
            found = _finish(folder, prepared, plan, material, model, state, settings)
            if is_url(place):
                send_run(folder, place, _WORK)
                shutil.rmtree(path, ignore_errors=True)  # the mirror of one that is gone
            folder.rename(path)
    for name in _WORK:
        (path / name).unlink(missing_ok=True)
    _tell(path, found)
    return FittedRun(path, found)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give the folder a run is made in; what was trained stays there when it is interrupted."""
    folder = path.with_name(path.name + UNFINISHED)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise BottleneckError(
            f"{folder} is being trained by another process; wait until it ends, or give another folder with --out"
        ) from None
    except OSError as error:
        raise BottleneckError(
            f"cannot write the run {path}: {error.strerror or error}; give another folder with --out"
        ) from error
    try:
        yield folder
    except BottleneckError:
        raise
    except BaseException:  # Ctrl-C, in whatever shape it comes back from C code, and our own faults
        if (folder / CHECKPOINT).exists():
            _log.warning(
                "What was trained is kept in %s; the same command goes on after the last epoch.",
                folder,
            )
        raise
    finally:
        if not (folder / CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _finish(
    folder: Path,
    prepared: Prepared,
    plan: Plan,
    material: Material,
    model: Any,
    state: State,
    settings: Settings,
) -> Run:
    """Write all that a run consists of."""
    assert state.start is not None
    graph = prepared.graph
    if prepared.precision != "float32":
        graph = _in_single(prepared)
        model = make_model(graph, plan.cut, prepared.unfrozen[-1], settings)
    everything = np.arange(len(material.y))
    probabilities = predict(model, material, everything, settings.batch_size)
    tuned = {
        name: measure(material.y[part], probabilities[part])
        for name, part in material.places.items()
    }
    before = prepared.run.metrics
    best = TUNED if state.history and tuned["val"].rank > before["val"].rank else HEAD
    tuning = Tuning(
        source=location_of(prepared.source),
        started_from=prepared.started_from,
        trained_on="pictures" if plan.cut is None else f"activations at {plan.cut}",
        stages=tuple(_stages_done(prepared, state)),
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
    graph.body.trainable = graph.head.trainable = True  # whoever loads it decides for himself
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


def _in_single(prepared: Prepared) -> Graph:
    """Make the graph anew in single precision, for not every machine has another."""
    graph, wanted, recipe = prepared.graph, prepared.wanted, prepared.recipe
    size = recipe.image_size
    again = build_graph(
        wanted.base, wanted.weights, recipe.tap, recipe.pool, size, "float32", graph.head
    )
    again.body.set_weights(graph.body.get_weights())
    finalize_statistics(again.body)
    return again


def _stages_done(prepared: Prepared, state: State) -> Iterator[TunedStage]:
    before = state.start
    for number, (stage, part) in enumerate(zip(prepared.stages, prepared.unfrozen, strict=True), 1):
        best = state.best_of(number)
        if best is None or before is None:
            return  # training ended before it
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


@contextlib.contextmanager
def _tensorboard(folder: str | os.PathLike[str] | None) -> Iterator[Callable[[int, Epoch], None]]:
    if folder is None:
        yield lambda *_: None
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise BottleneckError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'bottleneck-features[tensorboard]'"
        )
    import tensorflow as tf

    with contextlib.closing(tf.summary.create_file_writer(os.fspath(folder))) as writer:

        def tell(number: int, epoch: Epoch) -> None:
            with writer.as_default(number):
                tf.summary.scalar("loss", epoch.loss)
                tf.summary.scalar("learning_rate", epoch.learning_rate)
                tf.summary.scalar("val_loss", epoch.val.log_loss)
                tf.summary.scalar("val_accuracy", epoch.val.accuracy)
            writer.flush()

        yield tell


def _tell(path: Path, run: Run) -> None:
    tuning = run.tuning
    assert tuning is not None
    if run.random:
        _log.warning("The base's weights were RANDOM: these figures say nothing of a trained base.")
    if tuning.stopped:
        _log.warning(
            "Training ended early: %s. The weights from before are kept. Try a lower rate (--find-lr shows which), "
            "--clip-norm 1, or --precision float32.",
            tuning.stopped,
        )
    if tuning.best == HEAD:
        head, tuned = tuning.head_metrics["val"], tuning.tuned_metrics["val"]
        _log.warning(
            "Fine-tuning did not beat the head: in validation its accuracy is %.4f and its log loss %.4f, those of the "
            "head alone are %.4f and %.4f. Predictions from %s use the head.",
            *(tuned.accuracy, tuned.log_loss, head.accuracy, head.log_loss, path),
        )
