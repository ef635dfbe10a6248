"""`bottleneck bases list | convert`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.bases.registry import BASES
from bottleneck.cli import options, terminal

app = typer.Typer(help="The networks there are, and their weights.", no_args_is_help=True)


@app.command("list")
def list_bases(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the bases there are."""
    if json:
        terminal.result_json({"bases": [dataclasses.asdict(base) for base in BASES.values()]})
        return
    for base in BASES.values():
        terminal.result(
            f"{base.name:<20} {base.image_size} px, at least {base.min_size}; "
            f"taps {base.taps[0]} … {base.taps[-1]}"
        )
        terminal.result(f"{'':<20} {base.source}")


@app.command()
def convert(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The base.")],
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The public weights, a .safetensors file.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The .weights.h5 file to write, for --weights.")
    ],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write the public weights of another library as Keras weights."""
    # here, for it imports Keras
    from bottleneck.bases.convert import convert as run_convert

    digest = run_convert(name, source, out)
    if json:
        terminal.result_json({"base": name, "out": str(out), "weights_digest": digest})
    else:
        terminal.result(f"Wrote {out} (digest of the tensors {digest[:12]}…)")
