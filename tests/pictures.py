"""Real pictures on disk, and their features."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bottleneck.extraction.extract import extract


def write_crops(
    folder: Path, photograph: Image.Image, count: int, seed: int, prefix: str = ""
) -> None:
    """Write so many different parts of a photograph as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        left, top = rng.integers(0, photograph.width - 100), rng.integers(0, photograph.height - 90)
        crop = photograph.crop((left, top, left + 100, top + 90))
        crop.save(folder / f"{prefix}{number:02d}.jpg", quality=90)


def write_many(folder: Path, photographs: list[Image.Image], each: int) -> Path:
    """Write so many parts of each photograph, in a folder for each."""
    for seed, photograph in enumerate(photographs, start=3):  # seeds that draw no crop twice
        write_crops(folder / str(seed), photograph, each, seed)
    return folder


def extract_here(images: Path, cache: Path, **options: Any) -> Any:
    """Extract in this process with random weights, as small as can be."""
    return extract(images, cache, **{"weights": "random", "image_size": 75} | options)
