"""`bottleneck predict`."""

import io
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.images.decode import MAX_PIXELS
from bottleneck.serve.predict import predict as run_predict


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder or URL.")],
    images: options.Images,
    out: Annotated[
        Path | None, typer.Option(help="The CSV file to write.", show_default="to stdout")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="A cache to read features from and to add missing ones to."),
    ] = None,
    weights: options.WeightsNow = None,
    root: options.Root = None,
    path_column: options.PathColumn = "path",
    skip_missing: options.SkipMissing = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    engine: options.Engine = "auto",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Predict the classes of images with a run."""
    with progress_bar() as progress:
        predictions = run_predict(
            run,
            images,
            cache=cache,
            weights=weights,
            root=root,
            path_column=path_column,
            skip_missing=skip_missing,
            max_pixels=max_pixels,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            progress=progress,
        )
    failed = sum(bool(reason) for reason in predictions.reasons)
    if out is not None:
        predictions.write_csv(out)
    elif not json:
        table = io.StringIO()
        predictions.write_csv(table)
        terminal.result(table.getvalue(), end="")
    terminal.say(
        f"{len(predictions.paths) - failed:,} images predicted, {failed:,} failed"
        + (f"; written to {out}" if out else "")
    )
    if json:
        content = {
            "run": str(run),
            "images": len(predictions.paths),
            "failed": failed,
            "out": None if out is None else str(out),
            "predictions": predictions.to_list(),
        }
        terminal.result_json(content)
