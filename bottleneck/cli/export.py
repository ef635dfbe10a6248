"""`bottleneck export`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.serve.export import export as run_export


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder or URL.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist.")
    ],
    kind: Annotated[
        str, typer.Option("--format", help="keras, savedmodel, onnx or litert.")
    ] = "keras",
    weights: options.WeightsNow = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a run as one graph that does not need this package, and check its predictions."""
    with progress_bar() as progress:
        exported = run_export(run, out, kind, weights=weights, progress=progress)
    terminal.say(f"{exported.file}: {exported.check}")
    if json:
        content = {
            "run": str(run),
            "out": str(exported.path),
            "file": str(exported.file),
            "format": exported.format,
            "classes": list(exported.classes),
            **dataclasses.asdict(exported.check),
        }
        terminal.result_json(content)
    else:
        terminal.result(str(exported.file))
