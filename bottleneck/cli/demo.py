"""`bottleneck demo`: extract and fit on the handwritten digits of scikit-learn."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.cli.fit_head import metrics_table
from bottleneck.errors import BottleneckError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.report import ExtractReport
from bottleneck.heads.fit import fit_head

# The smallest size for InceptionV3, and the fastest; the digits are only 8 × 8 pixels.
_IMAGE_SIZE = 75


def demo(
    folder: Annotated[
        Path, typer.Option(help="Folder for data/, cache/ and runs/.", show_default="here")
    ] = Path(),
    debug: options.Debug = False,
) -> None:
    """Extract features of 1,797 handwritten digits twice, and fit two heads."""
    images, cache = folder / "data" / "digits", folder / "cache" / "digits"
    terminal.say(f"Writing 1,797 handwritten digits below {images} …")
    write_digits(images)
    report, weights = _extract(images, cache)
    terminal.say(str(report))
    terminal.say("\nThe same command again:")
    again = extract(images, cache, weights=weights, image_size=_IMAGE_SIZE)
    terminal.say(
        f"{again}\nNothing had to be computed: {again.computed} of {again.images:,} images."
    )
    terminal.say("\nFitting two heads on the cached features …")
    fits = [fit_head(cache, head, out=_out(folder, head)) for head in ("logistic", "softmax")]
    terminal.result(metrics_table({str(fitted.path): fitted.run.metrics for fitted in fits}))
    command = f"bottleneck extract {images} --cache {cache} --weights {weights} --image-size {_IMAGE_SIZE}"
    terminal.result(
        "\nThe commands were, the first of them twice:\n"
        f"  {command}\n"
        f"  bottleneck fit-head {cache} --head logistic\n"
        f"  bottleneck fit-head {cache} --head softmax\n"
        "With your own images, one folder per class:\n"
        "  bottleneck extract YOUR_FOLDER --cache cache/yours\n"
        "  bottleneck fit-head cache/yours --head logistic"
    )
    if sys.prefix != sys.base_prefix and "VIRTUAL_ENV" not in os.environ:
        activate = os.path.relpath(Path(sys.prefix) / "bin" / "activate")
        terminal.say(f"To put the command on your path: source {activate}")


def write_digits(folder: Path) -> None:
    """Write scikit-learn's digits as PNG files, one folder for each digit."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = folder / str(label) / f"{number:04d}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            # their pixels have 17 levels, from 0 to 16
            Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(file)


def _extract(images: Path, cache: Path) -> tuple[ExtractReport, str]:
    with progress_bar() as progress:
        try:
            report = extract(images, cache, image_size=_IMAGE_SIZE, progress=progress)
        except BottleneckError as error:
            terminal.say(
                "Could not download the ImageNet weights; using random weights. The reason:"
            )
            terminal.say(str(error), "dim")
        else:
            return report, "imagenet"
        report = extract(images, cache, weights="random", image_size=_IMAGE_SIZE, progress=progress)
        return report, "random"


def _out(folder: Path, head: str) -> Path:
    from bottleneck.runs.run import free_name

    return free_name(folder / "runs", f"digits-{head}")
