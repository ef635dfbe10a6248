"""Run a base with OpenVINO, on a CPU."""

import importlib
import queue
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import Network
from bottleneck.cache.recipe import Precision
from bottleneck.errors import BottleneckError
from bottleneck.extraction.engines.keras_engine import constant_graph

SETTINGS = {
    # several batches at once, each on cores of its own: one batch on all cores waits for the slowest core
    # at each layer
    "PERFORMANCE_HINT": "THROUGHPUT",
    # on processors where bfloat16 is faster, OpenVINO would otherwise use it in place of float32
    "INFERENCE_PRECISION_HINT": "f32",
}

# OpenVINO's names of precisions, in its settings and in what it reports of a processor. Layers of an int8 graph
# that are not quantised are computed in float32.
HINTS: dict[Precision, str] = {
    "float32": "f32",
    "bfloat16": "bf16",
    "float16": "f16",
    "int8": "f32",
}
_CAPABILITIES: dict[str, Precision] = {
    "FP32": "float32",
    "BF16": "bfloat16",
    "FP16": "float16",
    "INT8": "int8",
}


class CompiledModel:
    """An OpenVINO model compiled for one precision and batch size, which runs several batches at once.

    Parameters
    ----------
    model : openvino.Model
        From uint8 pixels to float32 features.
    precision : {"float32", "bfloat16", "float16", "int8"}
    taps : tuple of str
    feature_shapes : tuple of tuple of int
    batch_size : int
        Size of every batch.

    Raises
    ------
    BottleneckError
        The model cannot be compiled.
    """

    name = "openvino"

    def __init__(
        self,
        model: Any,
        precision: Precision,
        taps: tuple[str, ...],
        feature_shapes: tuple[tuple[int, ...], ...],
        batch_size: int,
    ) -> None:
        openvino = load_openvino()
        self.taps, self.feature_shapes, self.batch_size = taps, feature_shapes, batch_size
        settings = SETTINGS | {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        try:
            model.reshape([batch_size, *list(model.input(0).partial_shape)[1:]])
            compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:  # OpenVINO raises exceptions of many types
            raise _cannot("compile this base", error) from error
        self.in_flight = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._tensor = openvino.Tensor
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.in_flight):
            self._idle.put(compiled.create_infer_request())

    def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run the base over a batch."""
        request = self._idle.get()
        try:
            request.set_input_tensor(self._tensor(pixels, shared_memory=True))
            # asynchronous, so that it runs on OpenVINO's own threads: on ours, the cores reserved for
            # it would be idle
            request.start_async()
            request.wait()
            return tuple(
                np.array(request.get_output_tensor(number).data)  # the next batch overwrites it
                for number in range(len(self.taps))
            )
        finally:
            self._idle.put(request)


class OpenvinoEngine(CompiledModel):
    """Runs the converted graph of a base with OpenVINO.

    Parameters
    ----------
    network : Network
    batch_size : int
        Size of every batch.

    Raises
    ------
    BottleneckError
        Keras does not run on TensorFlow, whose graph is converted; the processor does not have the network's
        precision; a weight is not a finite number; or OpenVINO does not know one of the layers.
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        check_precision(network.precision)
        # OpenVINO chooses itself which layers to compute in less than float32, and cannot compile the casts
        # that Keras puts into a graph of reduced precision
        single = network if network.precision == "float32" else network.again("float32")
        super().__init__(
            convert(single), network.precision, network.taps, network.feature_shapes, batch_size
        )


def precisions_here() -> tuple[Precision, ...]:
    """Return the precisions that OpenVINO computes in on this processor."""
    found = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(ours for theirs, ours in _CAPABILITIES.items() if theirs in found)


def check_precision(precision: Precision) -> None:
    """Check that the processor has instructions for a precision; without them it is no faster than float32.

    Raises
    ------
    BottleneckError
        The processor does not have them.
    """
    if precision in (here := precisions_here()):
        return
    what = f"compute in {precision} on this processor, which has {', '.join(here)}"
    if precision == "int8":
        raise BottleneckError(f"OpenVINO cannot {what}; leave --precision out")
    raise _cannot(what)


def load_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry module, which reports every import."""
    return _import_without_telemetry("openvino")


def load_nncf() -> ModuleType:
    """Import NNCF, which quantises OpenVINO models, without the telemetry module."""
    load_openvino()
    return _import_without_telemetry("nncf")


def _import_without_telemetry(name: str) -> ModuleType:
    """Import a module that works without telemetry if the telemetry module cannot be imported."""
    telemetry = "openvino_telemetry"
    if name not in sys.modules:
        before = {telemetry: sys.modules[telemetry]} if telemetry in sys.modules else {}
        sys.modules[telemetry] = None  # type: ignore[assignment]
        try:
            importlib.import_module(name)
        finally:
            del sys.modules[telemetry]
            sys.modules.update(before)
    return sys.modules[name]


def convert(network: Network) -> Any:
    """Convert a network to an OpenVINO model, in memory.

    Returns
    -------
    openvino.Model
        With a free batch size.

    Raises
    ------
    BottleneckError
        The network cannot be converted.
    """
    load_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph

    backend = load_keras().backend.backend()
    if backend != "tensorflow":
        raise _cannot(f"run a base whose Keras has the backend {backend}")
    if not all(np.isfinite(np.asarray(variable)).all() for variable in network.model.weights):
        # its maximum of NaN and 0 is 0: wrong weights would give features that look right
        raise _cannot(
            "be used with weights that are not all numbers, because it does not propagate NaN"
        )
    graph = constant_graph(network).graph
    kinds = {t.dtype.name for operation in graph.get_operations() for t in operation.outputs}
    if reduced := kinds & {"float16", "bfloat16"}:
        raise _cannot(f"run layers that were saved in {' and '.join(sorted(reduced))}")
    front = FrontEndManager().load_by_framework("tf")
    nodes = GraphIteratorTFGraph(graph, True)  # True: tensors are not copied
    try:
        # both are named because OpenVINO does not keep them alive
        loaded = front.load(nodes)
        model = front.convert(loaded)
    except Exception as error:  # OpenVINO raises exceptions of many types
        raise _cannot("convert this base", error) from error
    if len(model.inputs) != 1:
        raise _cannot("convert this base: its graph has inputs besides the pixels")
    return model


def _cannot(what: str, error: Exception | None = None) -> BottleneckError:
    lines = str(error).splitlines() if error else []
    # OpenVINO marks findings with --; otherwise its last line says most
    found = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    reason = f" ({(found or lines)[-1].strip()})" if lines else ""
    return BottleneckError(
        f"OpenVINO cannot {what}{reason}; run it with --engine keras, or leave --engine out"
    )
