"""`bottleneck finetune`."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from bottleneck.cli import options, terminal
from bottleneck.cli import training_options as training
from bottleneck.cli.bars import progress_bar
from bottleneck.cli.fit_head import metrics_table
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.finder import RateSweep, find_rate
from bottleneck.finetuning.finetune import finetune as run_finetune
from bottleneck.finetuning.report import REPORT
from bottleneck.finetuning.settings import Settings, read_config
from bottleneck.finetuning.stages import AUTO, Stage
from bottleneck.heads.fit import FittedRun
from bottleneck.images.decode import MAX_PIXELS


def finetune(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder or URL of a fitted head.")],
    stages: training.Stages = None,
    unfreeze_last: training.UnfreezeLast = None,
    epochs: training.Epochs = None,
    learning_rate: training.LearningRate = None,
    config: training.Config = None,
    find_lr: training.FindRate = False,
    from_cache: training.FromCache = False,
    live: training.Live = False,
    augment: training.Augment = None,
    views: training.Views = None,
    batch_size: training.BatchSize = None,
    layer_decay: training.LayerDecay = None,
    warm_up: training.WarmUp = None,
    decay: training.Decay = None,
    weight_decay: training.WeightDecay = None,
    label_smoothing: training.LabelSmoothing = None,
    dropout: training.Dropout = None,
    clip_norm: training.ClipNorm = None,
    class_weight: training.ClassWeight = None,
    precision: training.Precision = None,
    patience: training.Patience = None,
    train_batchnorm: training.TrainBatchnorm = False,
    seed: training.Seed = None,
    out: training.Out = None,
    cache: training.CacheNow = None,
    weights: options.WeightsNow = None,
    devices: training.Devices = None,
    workers: options.Workers = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    tensorboard: training.TensorBoard = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train the head of a run and the upper layers of its base."""
    given = dict(locals())  # the options by name
    if live and from_cache:
        raise BottleneckError("--live and --from-cache exclude each other; give one, or neither")
    given["mode"] = "live" if live else "cached" if from_cache else None
    given["train_batchnorm"] = train_batchnorm or None
    chosen = _merge_config(config, given)
    settings = Settings(**{name: chosen[name] for name in _SETTINGS if name in chosen})
    chosen_stages = _find_stages(chosen)
    sources: dict[str, Any] = {"cache": cache, "weights": weights}
    sources |= {"workers": workers, "max_pixels": max_pixels}
    with progress_bar() as progress:
        if find_lr:
            sweep = find_rate(run, chosen_stages, settings, **sources, progress=progress)
        else:
            tuned = run_finetune(
                run,
                chosen_stages,
                settings,
                mode=chosen.get("mode", "auto"),
                out=out,
                devices=devices,
                tensorboard=tensorboard,
                progress=progress,
                **sources,
            )
    if find_lr:
        _print_sweep(sweep, json=json)
    else:
        _print_run(tuned, json=json)


_SETTINGS = [field.name for field in fields(Settings)]

# Options that a configuration file may set, besides the settings.
_STAGES = ("stages", "unfreeze_last", "epochs", "learning_rate", "mode")


def _merge_config(config: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Read the configuration file and override it by the options that were given."""
    chosen = read_config(config) if config else {}
    named = {name: given[name] for name in (*_SETTINGS, *_STAGES)}
    return chosen | {name: value for name, value in named.items() if value is not None}


def _find_stages(chosen: dict[str, Any]) -> str | list[Stage]:
    last = chosen.get("unfreeze_last")
    others = [name for name in ("epochs", "learning_rate") if name in chosen]
    if last is None:
        if others:
            raise BottleneckError(
                f"--{others[0].replace('_', '-')} is for --unfreeze-last; in --stages it is "
                "part of each stage: mixed9:3@1e-4"
            )
        return str(chosen.get("stages", AUTO))
    if "stages" in chosen:
        raise BottleneckError("--stages and --unfreeze-last exclude each other; give one of them")
    return [Stage(last, chosen.get("epochs", 3), chosen.get("learning_rate", 1e-4))]


def _print_sweep(sweep: RateSweep, *, json: bool) -> None:
    if json:
        terminal.result_json(sweep.to_dict())
    else:
        terminal.result(f"{sweep.suggestion:.2g}")
    terminal.say(f"The plot is in {sweep.plot}")


def _print_run(tuned: FittedRun, *, json: bool) -> None:
    if json:
        terminal.result_json({"path": tuned.name, **tuned.run.to_dict()})
        return
    tuning = tuned.run.tuning
    assert tuning is not None
    both = {"head alone": tuning.head_metrics, tuned.name: tuning.tuned_metrics}
    terminal.result(metrics_table(both))
    terminal.say(f"The report is in {tuned.path / REPORT}")
    terminal.say(f"Next: bottleneck predict {tuned.name} IMAGES --out predictions.csv")
