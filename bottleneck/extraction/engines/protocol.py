"""The protocol of engines, and of the bases they run."""

import importlib.util
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["auto", "keras", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# Images per batch on a CPU. On two cores the rate does not depend on it between 8 and 32; a small batch
# wastes less on the padding of the last one.
BATCH_SIZE = 16


class BuiltBase(Protocol):
    """A base that was built up to some taps: what a plan needs to know of it."""

    @property
    def weights_digest(self) -> str:
        """Digest of the weights, as recipes record it."""
        ...

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps, in the order of the features."""
        ...

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features, for each tap."""
        ...

    def __hash__(self) -> int: ...


class Engine(Protocol):
    """Runs a base: uint8 pixels in, float32 features of one or more taps out."""

    @property
    def name(self) -> str:
        """Its value of ``--engine``."""
        ...

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps, in the order of the features."""
        ...

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features, for each tap."""
        ...

    @property
    def batch_size(self) -> int:
        """Images per batch."""
        ...

    @property
    def in_flight(self) -> int:
        """Number of batches it runs at once, each from a thread of its own."""
        ...

    def features(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Run the base over a batch, always of the same size."""
        ...


def openvino_installed() -> bool:
    """Return whether OpenVINO can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def nncf_installed() -> bool:
    """Return whether NNCF can be imported, without importing it."""
    return importlib.util.find_spec("nncf") is not None
