"""`bottleneck extract`."""

from pathlib import Path
from typing import Annotated

import typer

from bottleneck.bases.network import Pool
from bottleneck.cli import options, terminal
from bottleneck.extraction.conveyor import BATCH_SIZE, SEAL_SECONDS
from bottleneck.extraction.extract import extract as run_extract
from bottleneck.images.decode import MAX_PIXELS, Fit


def extract(
    images: options.Images,
    cache: Annotated[Path, typer.Option(help="The cache's folder; made if need be.")],
    base: Annotated[str, typer.Option(help="The network to run.")] = "inception_v3",
    weights: Annotated[
        str, typer.Option(help="imagenet, random, or a .weights.h5, .h5 or .keras file.")
    ] = "imagenet",
    tap: Annotated[
        str | None, typer.Option(help="The layer to keep.", show_default="the last")
    ] = None,
    pool: Annotated[Pool, typer.Option(help="How the tap's map becomes a vector.")] = "avg",
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the square shown to the base.", show_default="the base's own"),
    ] = None,
    fit: Annotated[
        Fit, typer.Option(help="Scale both sides, or keep proportions and the centre.")
    ] = "squash",
    seed: Annotated[int, typer.Option(min=0, help="For random weights.")] = 0,
    root: options.Root = None,
    path_column: options.PathColumn = "path",
    label_column: Annotated[
        str | None,
        typer.Option(help="For a CSV: the column of labels.", show_default="label, if there"),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="For a CSV: the column of splits.", show_default="split, if there"),
    ] = None,
    skip_missing: options.SkipMissing = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try images again that failed before.")
    ] = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    batch_size: options.BatchSize = BATCH_SIZE,
    workers: options.Workers = None,
    seal_seconds: Annotated[
        float, typer.Option(min=0.0, help="Seal what is computed at least this often.")
    ] = SEAL_SECONDS,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run a frozen base over an image set and keep its features, computing only what is missing."""
    with terminal.progress_bar() as progress:
        report = run_extract(
            images,
            cache,
            base=base,
            weights=weights,
            tap=tap,
            pool=pool,
            image_size=image_size,
            fit=fit,
            seed=seed,
            root=root,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            skip_missing=skip_missing,
            retry_failed=retry_failed,
            max_pixels=max_pixels,
            batch_size=batch_size,
            workers=workers,
            seal_seconds=seal_seconds,
            progress=progress,
        )
    if json:
        terminal.say(str(report))
        terminal.result_json(report.to_dict())
    else:
        terminal.result(str(report))
        terminal.say(f"Next: bottleneck fit-head {cache} --head logistic")
