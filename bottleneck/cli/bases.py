"""`bottleneck bases list | show | convert`."""

import dataclasses
import itertools
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.bases.backbone import SUFFIX
from bottleneck.bases.base import find_size
from bottleneck.bases.registry import APPLICATIONS, BASES, find_base
from bottleneck.cli import options, terminal

app = typer.Typer(help="List, inspect and convert pretrained networks.", no_args_is_help=True)


@app.command("list")
def list_bases(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the available bases."""
    others = [base for name, base in APPLICATIONS.items() if base.name == name]
    if json:
        known = [*BASES.values(), *others]
        terminal.result_json({"bases": [dataclasses.asdict(base) for base in known]})
        return
    for source, bases in itertools.groupby(BASES.values(), lambda base: base.source):
        terminal.result(source)
        for base in bases:
            terminal.result(
                f"  {base.name:<20} {base.image_size} px, at least {base.min_size}; "
                f"taps {base.taps[0]} … {base.taps[-1]}"
            )
    terminal.result(
        "By class name in Keras; list the layers to tap with: bottleneck bases show NAME"
    )
    for size, bases in itertools.groupby(others, lambda base: base.image_size):
        terminal.result(f"  {size} px: {', '.join(base.name for base in bases)}")
    terminal.result("Your own network: a .keras file, with --preprocessing")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The base, or a .keras file.")],
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the images, in pixels.", show_default="the base's own"),
    ] = None,
    timed: Annotated[
        bool, typer.Option("--time", help="Measure the time below each tap; takes a while.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the taps of a base: shapes, parameters, multiply-adds, bytes per image."""
    # imported here, because it imports Keras
    from bottleneck.bases.anatomy import describe_taps

    # the output does not depend on the preprocessing
    base = find_base(name, "none" if name.endswith(SUFFIX) else None)
    size = find_size(base, image_size)
    taps = describe_taps(base, size, timed=timed)
    if json:
        listed = [dataclasses.asdict(tap) for tap in taps]
        terminal.result_json({"base": base.file or base.name, "image_size": size, "taps": listed})
        return
    terminal.result(f"{base.file or base.name} at {size} pixels: {base.source}")
    terminal.result(
        f"{'tap':<26} {'map':>14} {'params below':>13} {'above':>12} "
        f"{'Mult-adds below':>16} {'above':>8} {'time below':>11} {'bytes pooled':>13} {'map':>10}"
    )
    for tap in taps:
        spent = "" if tap.time_below is None else f"{tap.time_below:.0%}"
        terminal.result(
            f"{tap.tap:<26} {'×'.join(map(str, tap.shape)):>14} "
            f"{tap.parameters_below:>13,} {tap.parameters_above:>12,} "
            f"{_millions(tap.multiply_adds_below):>16} {_millions(tap.multiply_adds_above):>8} "
            f"{spent:>11} {tap.bytes_pooled:>13,} {tap.bytes_map:>10,}"
        )


def _millions(number: int) -> str:
    return f"{number / 1e6:,.0f} M"


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
    """Convert public weights of another library to Keras weights."""
    # imported here, because it imports Keras
    from bottleneck.bases.convert import convert as run_convert

    digest = run_convert(name, source, out)
    if json:
        terminal.result_json({"base": name, "out": str(out), "weights_digest": digest})
    else:
        terminal.result(f"Wrote {out} (digest of the tensors {digest[:12]}…)")
