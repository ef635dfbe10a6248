"""The base run by OpenVINO, on a CPU."""

import importlib
import queue
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import Network
from bottleneck.cache.quantised import Quantised
from bottleneck.cache.recipe import Precision
from bottleneck.errors import BottleneckError
from bottleneck.extraction.keras_engine import constant_graph

SETTINGS = {
    # several batches at once, each on cores of its own: one batch on all cores waits for its slowest
    # part, layer by layer
    "PERFORMANCE_HINT": "THROUGHPUT",
    # where a processor does bfloat16 faster, OpenVINO would use it unasked, and that is no float32
    "INFERENCE_PRECISION_HINT": "f32",
}

# What OpenVINO calls a precision where it is asked for it, and where it tells what a processor has. Of a
# quantised graph it computes in float32 what is not quantised.
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


class OpenvinoEngine:
    """Runs the graph of a base with OpenVINO, several batches at once.

    Parameters
    ----------
    network : Network or Quantised
    batch_size : int
        Of every batch it will be given.

    Raises
    ------
    BottleneckError
        Keras has another backend than TensorFlow, whose graph is converted; the processor does not have
        the network's precision; its weights are not all numbers; or OpenVINO does not know one of its layers.
    """

    name = "openvino"

    def __init__(self, network: Network | Quantised, batch_size: int) -> None:
        openvino = load_openvino()
        self.taps, self.feature_shapes = network.taps, network.feature_shapes
        self.batch_size = batch_size
        refuse_lacking(network.precision)
        model = _model(network)
        settings = SETTINGS | {"INFERENCE_PRECISION_HINT": HINTS[network.precision]}
        try:
            model.reshape([batch_size, *list(model.input(0).partial_shape)[1:]])
            compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:  # it raises what its parts raise
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
            # on a thread of its own: run by ours, it would leave the cores set aside for it idle
            request.start_async()
            request.wait()
            return tuple(
                np.array(request.get_output_tensor(number).data)  # the next batch overwrites it
                for number in range(len(self.taps))
            )
        finally:
            self._idle.put(request)


def _model(network: Network | Quantised) -> Any:
    if isinstance(network, Quantised):
        openvino = load_openvino()
        # a graph of its own making, which no layer of Keras goes into
        return openvino.Core().read_model(
            network.graph, openvino.Tensor(np.frombuffer(network.weights, np.uint8))
        )
    # It chooses itself which layers to compute in less than float32; a graph that Keras has made of casts
    # it cannot compile.
    return convert(network if network.precision == "float32" else network.again("float32"))


def precisions_here() -> tuple[Precision, ...]:
    """Tell which precisions this processor has instructions for, as far as OpenVINO uses them."""
    found = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(ours for theirs, ours in _CAPABILITIES.items() if theirs in found)


def refuse_lacking(precision: Precision) -> None:
    """Refuse a precision that would be slower here than float32, or float32 under another name.

    Raises
    ------
    BottleneckError
        The processor does not have it.
    """
    if precision in (here := precisions_here()):
        return
    what = f"compute in {precision} on this processor, which has {', '.join(here)}"
    if precision == "int8":
        raise BottleneckError(f"OpenVINO cannot {what}; leave --precision out")
    raise _cannot(what)


def load_openvino() -> ModuleType:
    """Import OpenVINO, without the module by which it tells its makers of every import."""
    return _unreported("openvino")


def load_nncf() -> ModuleType:
    """Import NNCF, which quantises what OpenVINO runs, likewise."""
    load_openvino()
    return _unreported("nncf")


def _unreported(name: str) -> ModuleType:
    """Import a module that does without its reporter where that is not installed, or cannot be imported."""
    reporter = "openvino_telemetry"
    if name not in sys.modules:
        before = {reporter: sys.modules[reporter]} if reporter in sys.modules else {}
        sys.modules[reporter] = None  # type: ignore[assignment]
        try:
            importlib.import_module(name)
        finally:
            del sys.modules[reporter]
            sys.modules.update(before)
    return sys.modules[name]


def convert(network: Network) -> Any:
    """Convert a network to an OpenVINO model, in memory.

    Returns
    -------
    openvino.Model
        Its batch size is not fixed yet.

    Raises
    ------
    BottleneckError
        It cannot be converted.
    """
    load_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.graph_iterator import GraphIteratorTFGraph

    backend = load_keras().backend.backend()
    if backend != "tensorflow":
        raise _cannot(f"run a base whose Keras has the backend {backend}")
    if not all(np.isfinite(np.asarray(variable)).all() for variable in network.model.weights):
        # its maximum of NaN and 0 is 0: wrong weights would give features that look right
        raise _cannot("be used with weights that are not all numbers, for it does not pass them on")
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
    except Exception as error:  # it raises what its parts raise
        raise _cannot("convert this base", error) from error
    if len(model.inputs) != 1:
        raise _cannot("convert this base: its graph has inputs besides the pixels")
    return model


def _cannot(what: str, error: Exception | None = None) -> BottleneckError:
    lines = str(error).splitlines() if error else []
    # what it found it marks so; otherwise the last of its lines says most
    found = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    reason = f" ({(found or lines)[-1].strip()})" if lines else ""
    return BottleneckError(
        f"OpenVINO cannot {what}{reason}; run it with --engine keras, or leave --engine out"
    )
