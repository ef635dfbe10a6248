"""Photographs to measure with."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def write_photographs(folder: Path, count: int) -> None:
    """Write so many different 500 × 375 parts of two photographs as JPEG files, by class; there are 14,560."""
    corners = np.random.default_rng(0).permutation(140 * 52)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(count):
        kind = number % 2
        left, top = divmod(int(corners[number // 2]), 52)
        file = folder / ("temple", "flower")[kind] / f"{number:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photographs[kind].crop((left, top, left + 500, top + 375)).save(file, quality=90)
