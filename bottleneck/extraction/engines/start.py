"""Start the engine that runs a built base."""

import functools
import logging

from bottleneck.bases.backend import has_gpu
from bottleneck.bases.network import Network
from bottleneck.cache.quantised import Quantised
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.protocol import (
    BATCH_SIZE,
    BuiltBase,
    Engine,
    EngineName,
    openvino_installed,
)

_log = logging.getLogger("bottleneck")


def start_engine(built: BuiltBase, name: EngineName, batch_size: int | None) -> Engine:
    """Create the engine that runs a base, or return the last one again.

    Parameters
    ----------
    built : Network or Quantised
        A quantised graph is run by OpenVINO only.
    name : {"auto", "keras", "openvino"}
        ``auto`` is OpenVINO if it is installed, there is no GPU and it can run this network, and
        Keras otherwise.
    batch_size : int or None
        Images per batch. None means 16 on a CPU, and on a GPU the largest power of two up to 256 that fits
        into its memory. It is not tuned beyond that: another size changes the last bits of features, and the
        same machine has to compute the same ones.

    Raises
    ------
    BottleneckError
        OpenVINO cannot run this network, or the engine asked for does not compute in int8.
    """
    if isinstance(built, Quantised):
        check_engine_for_int8(name)
        return _start_int8(built, batch_size or BATCH_SIZE)
    if not isinstance(built, Network):
        raise TypeError(f"no engine runs a {type(built).__name__}")
    if name == "openvino":
        return _start_openvino(built, batch_size or BATCH_SIZE)
    if name == "auto" and openvino_installed() and not has_gpu():
        try:
            return _start_openvino(built, batch_size or BATCH_SIZE)
        except BottleneckError as error:
            _log.info("Keras runs the base: %s", error)
    return _start_keras(built, batch_size)


def check_engine_for_int8(name: EngineName) -> None:
    """Check that the engine asked for can run a quantised graph.

    Raises
    ------
    BottleneckError
        It is Keras.
    """
    if name == "keras":
        raise BottleneckError(
            "Keras cannot compute in int8; leave --engine out, or give --engine openvino"
        )


# One engine of each kind is kept, like the last network: a second call in the same process starts at once.
@functools.lru_cache(maxsize=1)
def _start_keras(network: Network, batch_size: int | None) -> Engine:
    from bottleneck.extraction.engines.keras_engine import KerasEngine, largest_batch, run_full

    if batch_size is None and has_gpu():
        batch_size = largest_batch(functools.partial(run_full, network))
    return KerasEngine(network, batch_size or BATCH_SIZE)


@functools.lru_cache(maxsize=1)
def _start_openvino(network: Network, batch_size: int) -> Engine:
    from bottleneck.extraction.engines.openvino_engine import OpenvinoEngine

    return OpenvinoEngine(network, batch_size)


@functools.lru_cache(maxsize=1)
def _start_int8(graph: Quantised, batch_size: int) -> Engine:
    from bottleneck.extraction.engines.int8_engine import Int8Engine

    return Int8Engine(graph, batch_size)
