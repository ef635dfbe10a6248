"""`bottleneck advise`."""

import dataclasses
from typing import Annotated

import typer

from bottleneck.cli import options, terminal


def advise(
    cache: options.Cache,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed for the split, if one is created.")
    ] = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Advise what to try next: which tap, and whether to fine-tune, with the evidence."""
    # imported here: it brings scikit-learn, which takes a second
    from bottleneck.evaluate.advise import advise as run_advise

    found = run_advise(cache, seed=seed)
    if json:
        terminal.result_json({"cache": str(cache), **dataclasses.asdict(found)})
        return
    terminal.result(
        f"{found.images:,} images of {found.classes} classes, {found.smallest:,} in the smallest: a {found.size} set, "
        f"{found.likeness} {'to' if found.likeness == 'similar' else 'from'} the images the base was trained on."
    )
    terminal.result(f"{'recipe':<48} {'LogME':>8} {'H-score':>8} {'probe':>7}")
    for tap in found.taps:
        terminal.result(
            f"{tap.recipe:<48} {tap.logme:>8.3f} {tap.h_score:>8.3f} {tap.accuracy:>7.3f} ± {1.96 * tap.error:.3f}"
        )
    terminal.result(f"{'(majority class)':<48} {'':>8} {'':>8} {found.guess:>7.3f}\n{found.say}")
    for reason in found.weak:
        terminal.result(f"Weak evidence: {reason}.")
    terminal.say(f"Next: {found.command}")
