"""`bottleneck finetune`: train the head of a run and the upper layers of its base."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bottleneck.errors import BottleneckError
from bottleneck.extraction import conveyor
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.finetuning.check import check_predictions
from bottleneck.finetuning.checkpoint import read_checkpoint, write_checkpoint
from bottleneck.finetuning.data import load_training_data
from bottleneck.finetuning.devices import training_devices
from bottleneck.finetuning.model import make_model
from bottleneck.finetuning.plan import Mode, find_plan
from bottleneck.finetuning.prepare import prepare_run
from bottleneck.finetuning.result import write_tuned_run
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import AUTO, Stage, resolve_stages
from bottleneck.finetuning.tensorboard import log_epochs
from bottleneck.finetuning.train import train
from bottleneck.finetuning.unfinished import WORK_FILES, unfinished_folder
from bottleneck.heads.record import FittedRun
from bottleneck.images.decode import MAX_PIXELS
from bottleneck.remote import is_url
from bottleneck.runs.run import HEAD, Run, free_name, refuse_taken, run_path, send_run

_log = logging.getLogger("bottleneck")


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

    Training may be interrupted at any time. The same call continues after the last epoch, and on a CPU ends
    with the same weights as an undisturbed run.

    Parameters
    ----------
    run : path
        Folder of a run written by `bottleneck.fit_head`.
    stages : str or sequence of Stage
        Such as ``mixed9:3@1e-4,mixed7:5@1e-5``: the tap above which to train, the number of epochs, and the
        learning rate. ``auto`` unfreezes block by block at falling learning rates.
    settings : Settings, optional
        All other training options.
    mode : {"auto", "live", "cached"}
        Train on images (``live``), or on the activations at the deepest cut, which are computed once and kept
        in the cache (``cached``). ``auto`` chooses the faster one that fits on the disk.
    out : path, optional
        Folder of the new run, which must not exist; by default ``runs/RUN-finetuned``, with a number if that
        exists.
    cache : path, optional
        Where the run's cache is now, if it has moved.
    weights : str or path, optional
        Where the base's weights are now, if they have moved. Other weights are an error.
    devices : int, optional
        Number of GPUs that share each batch; by default all.
    workers : int, optional
        Number of threads that read and decode images; by default the number of cores.
    max_pixels : int
        Larger images are refused as decompression bombs.
    tensorboard : path, optional
        A folder for TensorBoard's logs.
    progress : callable
        Called with the step's name, the number done and the total.

    Returns
    -------
    FittedRun
        Its folder holds the network as ``model.keras`` and the head that training started from. The one with
        the higher validation accuracy is used for predictions.

    Raises
    ------
    BottleneckError
        The run, its cache, its images or its weights are missing or have changed, a stage is invalid, or the
        disk is full. Checkpoints are kept.

    Notes
    -----
    Gradual unfreezing and learning rates that fall with depth: Howard and Ruder 2018, Universal Language Model
    Fine-tuning for Text Classification.

    Examples
    --------
    >>> tuned = finetune(example_run, "mixed9:1@1e-5", out=example_folder / "tuned")
    >>> tuned.run.tuning.stages[0].stage, tuned.run.best in {"head", "fine-tuned"}
    ('mixed9:1@1e-05', True)
    """
    settings = settings or Settings()
    if mode not in get_args(Mode):
        raise BottleneckError(f"unknown mode {mode!r}; expected one of {', '.join(get_args(Mode))}")
    target = out if out is not None else free_name(Path("runs"), f"{Path(run).name}-finetuned")
    refuse_taken(target)
    path = run_path(target)
    decoding = conveyor.Settings(
        workers=conveyor.Settings().workers if workers is None else workers, max_pixels=max_pixels
    )
    with training_devices(devices) as count:
        if count > 1 and settings.clip_norm is not None:
            raise BottleneckError(
                "--clip-norm would clip the gradient of each device separately; leave it out, or train with --devices 1"
            )
        prepared = prepare_run(run, resolve_stages(stages), settings, cache, weights, progress)
        with unfinished_folder(path) as folder:
            plan = find_plan(folder, prepared, mode)
            data = load_training_data(prepared, plan.cut, decoding, progress)
            model = make_model(prepared.graph, plan.cut, prepared.unfrozen[-1], settings)
            state = read_checkpoint(folder)
            if state.start is None:
                state.start = check_predictions(prepared, model, data)
                write_checkpoint(folder, state)
            with log_epochs(tensorboard) as log_epoch:
                train(prepared, data, state, folder, progress, log_epoch)
            tuned = write_tuned_run(folder, prepared, data, model, state)
            if is_url(target):
                send_run(folder, target, WORK_FILES)
                shutil.rmtree(path, ignore_errors=True)  # the local copy of a run that was deleted
            folder.rename(path)
    for name in WORK_FILES:
        (path / name).unlink(missing_ok=True)
    _report_result(path, tuned)
    return FittedRun(path, tuned)


def _report_result(path: Path, run: Run) -> None:
    tuning = run.tuning
    assert tuning is not None
    if run.random:
        _log.warning(
            "The base's weights were RANDOM: these scores say nothing about a trained base."
        )
    if tuning.stopped:
        _log.warning(
            "Training ended early: %s. The last good weights are kept. Try a lower learning rate (see --find-lr), "
            "--clip-norm 1, or --precision float32.",
            tuning.stopped,
        )
    if tuning.best == HEAD:
        head, tuned = tuning.head_metrics["val"], tuning.tuned_metrics["val"]
        _log.warning(
            "Fine-tuning did not beat the head: its validation accuracy is %.4f and its log loss %.4f; the head alone "
            "has %.4f and %.4f. Predictions from %s use the head.",
            *(tuned.accuracy, tuned.log_loss, head.accuracy, head.log_loss, path),
        )
