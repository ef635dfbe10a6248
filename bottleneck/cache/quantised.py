"""Int8-quantised graph of a base, as a cache stores it.

It stands for the weights it was made from: the numbers it rounds to depend on the images it was
calibrated on, so it is made once and kept, and its digest is what a recipe says of the weights. Lost, it can be
made again to the bit from the same images, on a like machine.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bottleneck.cache.atomic import read_regular, write_atomically
from bottleneck.cache.recipe import QUANTISED, refuse_newer
from bottleneck.cache.schema import build, read_json
from bottleneck.errors import BottleneckError

# Suffix of the file names.
SUFFIX = ".int8"
FORMAT = "bottleneck-int8"
VERSION = 1

# Digits of the digest in a file's name, by which damage is detected.
_DIGITS = 16


@dataclass(frozen=True)
class Origin:
    """The weights and options a graph was made from.

    Attributes
    ----------
    base, tap, pool : str
    image_size : int
    fingerprint : str
        Of the source of the weights, see `bottleneck.bases.weights.WeightsSource`.
    weights_digest : str
        Of the base's tensors in float32.
    """

    base: str
    tap: str
    pool: str
    image_size: int
    fingerprint: str
    weights_digest: str


@dataclass(frozen=True, eq=False)
class Quantised:
    """A graph from uint8 pixels ``(n, size, size, 3)`` to float32 features of one tap.

    Attributes
    ----------
    origin : Origin
    feature_shape : tuple of int
        Of one image's features.
    graph, weights : bytes
        What OpenVINO calls a model's XML and its weights.
    weights_digest : str
        SHA-256 of the file.
    """

    origin: Origin
    feature_shape: tuple[int, ...]
    graph: bytes
    weights: bytes
    weights_digest: str

    precision: Literal["int8"] = "int8"

    @property
    def taps(self) -> tuple[str, ...]:
        """The one tap."""
        return (self.origin.tap,)

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features for the one tap."""
        return (self.feature_shape,)


def write_quantised(
    cache: Path,
    name: str,
    origin: Origin,
    feature_shape: tuple[int, ...],
    graph: bytes,
    weights: bytes,
) -> Path:
    """Write a graph into a cache atomically, and return its path.

    Parameters
    ----------
    cache : Path
    name : str
        Of the weights, with which the file's name begins.
    origin, feature_shape, graph, weights
        As in `Quantised`.
    """
    import numpy as np
    from safetensors.numpy import save

    about = {"version": VERSION, "feature_shape": feature_shape} | dataclasses.asdict(origin)
    tensors = {"graph": np.frombuffer(graph, np.uint8), "weights": np.frombuffer(weights, np.uint8)}
    # under one name, for several would be written in an order left to chance, and have another digest
    content = save(tensors, {FORMAT: json.dumps(about)})
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    parts = (name, origin.base, origin.tap, origin.pool, str(origin.image_size), digest)
    path = cache / QUANTISED / f"{'-'.join(parts)}{SUFFIX}"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content)
    return path


def read_quantised(path: Path) -> Quantised:
    """Read a graph and check its digest.

    Raises
    ------
    BottleneckError
        The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    content = read_checked(path)
    try:
        with safe_open(path, "np") as file:
            about = read_json(file.metadata()[FORMAT])
        refuse_newer(path, about, VERSION)
        del about["version"]
        shape = build(tuple[int, ...], about.pop("feature_shape", None), "feature_shape")
        origin = build(Origin, about)
        tensors = load(content)
        graph, weights = (tensors[name].tobytes() for name in ("graph", "weights"))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BottleneckError(
            f"{path} is no graph this version of bottleneck reads ({error}); extract anew with --precision int8 and "
            "the float32 weights"
        ) from error
    return Quantised(origin, shape, graph, weights, hashlib.sha256(content).hexdigest())


def read_checked(path: Path) -> bytes:
    """Read a graph's file and compare its bytes with the digest in its name.

    Raises
    ------
    BottleneckError
        The file is missing or damaged.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise BottleneckError(
            f"cannot read the quantised graph {path} ({error.strerror}), without which no more features like those "
            f"made with it can be had; put it back, say with --weights where it is now, or extract again with "
            "--precision int8, which makes the same of the same images, and of others another"
        ) from error
    if hashlib.sha256(content).hexdigest()[:_DIGITS] != path.stem.rpartition("-")[2]:
        raise BottleneckError(
            f"the quantised graph {path} is damaged, or was renamed; put back a copy, or remove it and extract again "
            "with --precision int8, which makes the same of the same images, and of others another"
        )
    return content


def quantised_paths(cache: Path) -> list[Path]:
    """Return the graphs of a cache, sorted by name."""
    return sorted((cache / QUANTISED).glob(f"[!.]*{SUFFIX}"))


def quantised_for(cache: Path, base: str, tap: str, pool: str, image_size: int) -> Iterator[Path]:
    """Return the graphs of a cache for a base, tap, pool and image size."""
    middle = f"-{base}-{tap}-{pool}-{image_size}"
    return (
        path for path in quantised_paths(cache) if path.stem.rpartition("-")[0].endswith(middle)
    )
