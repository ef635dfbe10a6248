"""`bottleneck finetune`."""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bottleneck.bases.network import Precision
from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.cli.fit_head import metrics_table
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.finder import find_rate
from bottleneck.finetuning.finetune import finetune as run_finetune
from bottleneck.finetuning.report import REPORT
from bottleneck.finetuning.settings import Decay, Settings, read_config
from bottleneck.finetuning.stages import AUTO, Stage
from bottleneck.images.decode import MAX_PIXELS

_stages = partial(typer.Option, rich_help_panel="What is trained")
_where = partial(typer.Option, rich_help_panel="Live or from the cache")
_training = partial(typer.Option, rich_help_panel="How it is trained")
_running = partial(typer.Option, rich_help_panel="How it runs")

_DEFAULTS = Settings()


def finetune(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder or URL of a fitted head.")],
    stages: Annotated[
        str | None,
        _stages(
            help="TAP:EPOCHS@RATE with commas between: train all above this tap. In place of a tap: a number of layers "
            "at the top, or head. auto goes down block by block, at rates a tenth of the one before.",
            show_default=AUTO,
        ),
    ] = None,
    unfreeze_last: Annotated[
        int | None, _stages(min=0, help="In place of stages: train so many layers at the top.")
    ] = None,
    epochs: Annotated[
        int | None, _stages(min=1, help="For --unfreeze-last.", show_default="3")
    ] = None,
    learning_rate: Annotated[
        float | None, _stages(help="For --unfreeze-last.", show_default="1e-4")
    ] = None,
    config: Annotated[
        Path | None, _stages(help="A YAML file of options; those given here count first.")
    ] = None,
    find_lr: Annotated[
        bool,
        _stages(
            "--find-lr", help="Only try learning rates for the first stage, and plot the loss."
        ),
    ] = False,
    from_cache: Annotated[
        bool, _where("--from-cache", help="Train on activations at the deepest cut, cached once.")
    ] = False,
    live: Annotated[
        bool, _where("--live", help="Train on pictures, decoded in each epoch.")
    ] = False,
    augment: Annotated[
        str | None,
        _where(
            help="Train on views: flip,rotate=DEGREES,shift=SHARE,zoom=SHARE,brightness=SHARE.",
            show_default="none",
        ),
    ] = None,
    views: Annotated[
        int | None,
        _where(min=0, help="How many, in turn; 0: another in each epoch.", show_default="0"),
    ] = None,
    batch_size: Annotated[int | None, _training(min=1, show_default="32")] = None,
    layer_decay: Annotated[
        float | None,
        _training(
            help="The rate of each layer of the base, of that of the one above.", show_default="0.9"
        ),
    ] = None,
    warm_up: Annotated[
        float | None,
        _training(help="Share of a stage in which the rate rises.", show_default="0.3"),
    ] = None,
    decay: Annotated[
        Decay | None, _training(help="How the rate falls then.", show_default="cosine")
    ] = None,
    weight_decay: Annotated[float | None, _training(show_default="0")] = None,
    label_smoothing: Annotated[float | None, _training(show_default="0")] = None,
    dropout: Annotated[
        float | None, _training(help="Before the head's last layer.", show_default="the head's own")
    ] = None,
    clip_norm: Annotated[
        float | None, _training(help="The most a gradient's length may be.")
    ] = None,
    class_weight: Annotated[
        str | None, _training(help="balanced: all classes count the same, however rare.")
    ] = None,
    precision: Annotated[
        Precision | None, _training(help="What the base computes in.", show_default="float32")
    ] = None,
    patience: Annotated[
        int | None, _training(min=1, help="End a stage after so many epochs that are no better.")
    ] = None,
    train_batchnorm: Annotated[
        bool,
        _training("--train-batchnorm", help="Let batch normalisation learn its statistics anew."),
    ] = False,
    seed: Annotated[
        int | None, _training(min=0, help="Of the order of images, and dropout.", show_default="0")
    ] = None,
    out: Annotated[
        str | None,
        _running(
            help="The run's folder or URL, which must not exist.", show_default="runs/RUN-finetuned"
        ),
    ] = None,
    cache: Annotated[
        str | None, _running(help="Where the run's cache is now.", show_default="where it was")
    ] = None,
    weights: options.WeightsNow = None,
    devices: Annotated[
        int | None, _running(min=1, help="GPUs that share each batch.", show_default="all")
    ] = None,
    workers: options.Workers = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    tensorboard: Annotated[Path | None, _running(help="A folder for TensorBoard's logs.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a run's head and, from the top down, its base."""
    if live and from_cache:
        raise BottleneckError("--live and --from-cache exclude each other; give one, or neither")
    given = {
        "stages": stages,
        "unfreeze_last": unfreeze_last,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "mode": "live" if live else "cached" if from_cache else None,
        "augment": augment,
        "views": views,
        "batch_size": batch_size,
        "layer_decay": layer_decay,
        "warm_up": warm_up,
        "decay": decay,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "dropout": dropout,
        "clip_norm": clip_norm,
        "class_weight": class_weight,
        "precision": precision,
        "patience": patience,
        "train_batchnorm": train_batchnorm or None,
        "seed": seed,
    }
    chosen = read_config(config) if config else {}
    chosen |= {name: value for name, value in given.items() if value is not None}
    settings = Settings(
        **{field.name: chosen[field.name] for field in fields(Settings) if field.name in chosen}
    )
    wanted = _stages_of(chosen)
    with progress_bar() as progress:
        if find_lr:
            found = find_rate(
                run,
                wanted,
                settings,
                cache=cache,
                weights=weights,
                workers=workers,
                max_pixels=max_pixels,
                progress=progress,
            )
        else:
            tuned = run_finetune(
                run,
                wanted,
                settings,
                mode=chosen.get("mode", "auto"),
                out=out,
                cache=cache,
                weights=weights,
                devices=devices,
                workers=workers,
                max_pixels=max_pixels,
                tensorboard=tensorboard,
                progress=progress,
            )
    if find_lr:
        if json:
            terminal.result_json(found.to_dict())
        else:
            terminal.result(f"{found.suggestion:.2g}")
        terminal.say(f"The plot is in {found.plot}")
    elif json:
        terminal.result_json({"path": tuned.name, **tuned.run.to_dict()})
    else:
        tuning = tuned.run.tuning
        assert tuning is not None
        both = {"head alone": tuning.head_metrics, tuned.name: tuning.tuned_metrics}
        terminal.result(metrics_table(both))
        terminal.say(f"The report is in {tuned.path / REPORT}")
        terminal.say(f"Next: bottleneck predict {tuned.name} IMAGES --out predictions.csv")


def _stages_of(chosen: dict[str, Any]) -> str | list[Stage]:
    last = chosen.get("unfreeze_last")
    others = [name for name in ("epochs", "learning_rate") if name in chosen]
    if last is None:
        if others:
            raise BottleneckError(
                f"--{others[0].replace('_', '-')} goes with --unfreeze-last; stages say theirs: --stages mixed9:3@1e-4"
            )
        return str(chosen.get("stages", AUTO))
    if "stages" in chosen:
        raise BottleneckError(
            "--stages and --unfreeze-last both say what to train; give one of them"
        )
    return [Stage(last, chosen.get("epochs", 3), chosen.get("learning_rate", 1e-4))]
