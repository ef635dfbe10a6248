"""`bottleneck fit-head`."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli import options, terminal
from bottleneck.heads.fit import TRIALS
from bottleneck.heads.fit import fit_head as run_fit_head
from bottleneck.heads.grids import find_grid
from bottleneck.heads.registry import HEADS
from bottleneck.runs.metrics import Metrics

_HEADS = "; ".join(f"{kind.name}: {kind.summary}" for kind in HEADS.values())

_search = partial(typer.Option, rich_help_panel="Search and cross-validation")
_shape = partial(typer.Option, rich_help_panel="Options for single parameters")


def fit_head(
    cache: options.Cache,
    head: Annotated[
        str,
        typer.Option(
            help=f"Head to fit. {_HEADS}. Or the dotted path of a scikit-learn classifier."
        ),
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Id of a recipe, or a part of it such as its tap. If repeated, features are concatenated.",
            show_default="the only one",
        ),
    ] = None,
    train_views: Annotated[
        int | None,
        typer.Option(min=1, help="Number of views of each image to fit on.", show_default="all"),
    ] = None,
    predict_views: Annotated[
        int, typer.Option(min=1, help="Number of views of each image to average predictions over.")
    ] = 1,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL of the run, which must not exist.", show_default="runs/CACHE-HEAD"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed for the split (if one is created) and the head.")
    ] = 0,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Parameter of the head; may be repeated."),
    ] = None,
    hidden: Annotated[
        list[int] | None, _shape(min=1, help="Width of a hidden layer; may be repeated.")
    ] = None,
    filters: Annotated[
        list[int] | None, _shape(min=1, help="Filters of a convolution; may be repeated.")
    ] = None,
    kernel: Annotated[int | None, _shape(min=1, help="Kernel size of the convolutions.")] = None,
    dropout: Annotated[
        float | None, _shape(min=0, help="Dropout rate after each hidden layer.")
    ] = None,
    class_weight: Annotated[
        str | None, _shape(help="balanced: weight all classes equally, however rare.")
    ] = None,
    search: Annotated[
        bool, _search("--search", help="Try the default grid of the head, and use the best values.")
    ] = False,
    grid: Annotated[
        Path | None,
        _search(
            help="Try the grid of a JSON file: an object with a list of values for each parameter."
        ),
    ] = None,
    cv: Annotated[
        int,
        _search(
            min=0,
            help="Number of cross-validation folds of train and val.",
            show_default="score on val",
        ),
    ] = 0,
    jobs: Annotated[
        int | None, _search(min=1, help="Number of processes.", show_default="one per core")
    ] = None,
    cluster: options.Cluster = None,
    memory: options.Memory = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit a head on cached features and write a run."""
    short = {
        "hidden": hidden or None,
        "filters": filters or None,
        "kernel": kernel,
        "dropout": dropout,
        "class_weight": class_weight,
    }
    fitted = run_fit_head(
        cache,
        head,
        recipes=recipe or (),
        train_views=train_views,
        predict_views=predict_views,
        out=out,
        seed=seed,
        params=dict(map(_parameter, param or []))
        | {name: value for name, value in short.items() if value is not None},
        grid=find_grid(head, grid) if search or grid else None,
        folds=cv,
        jobs=jobs or os.cpu_count() or 1,
        cluster=cluster,
        memory=None if memory is None else memory << 20,
    )
    if json:
        terminal.result_json({"path": fitted.name, **fitted.run.to_dict()})
    else:
        terminal.result(metrics_table({fitted.name: fitted.run.metrics}))
        if fitted.run.trials:
            terminal.say(
                f"Tried {fitted.run.trials} combinations of parameters on {fitted.run.chosen_on}; "
                f"see {fitted.path / TRIALS}"
            )
        terminal.say(f"Next: bottleneck predict {fitted.name} IMAGES --out predictions.csv")


def metrics_table(measured: Mapping[str, Mapping[str, Metrics]]) -> str:
    """Format metrics as a table, by run and by split."""
    lines = [
        f"{'run':<32} {'split':<6} {'images':>7} {'accuracy':>9} {'balanced':>9} {'macro F1':>9} {'log loss':>9}"
    ]
    for name, metrics in measured.items():
        for split, m in metrics.items():
            lines.append(
                f"{name:<32} {split:<6} {m.images:>7,} {m.accuracy:>9.4f} {m.balanced_accuracy:>9.4f} "
                f"{m.macro_f1:>9.4f} {m.log_loss:>9.4f}"
            )
    return "\n".join(lines)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--param takes NAME=VALUE, not {text!r}")
    return name, value
