"""Run an int8-quantised base with OpenVINO."""

import numpy as np

from bottleneck.cache.quantised import Quantised
from bottleneck.extraction.engines.openvino_engine import (
    CompiledModel,
    check_precision,
    load_openvino,
)


class Int8Engine(CompiledModel):
    """Runs a quantised graph with OpenVINO, several batches at once.

    Parameters
    ----------
    graph : Quantised
    batch_size : int
        Size of every batch.

    Raises
    ------
    BottleneckError
        The processor does not compute in int8.
    """

    def __init__(self, graph: Quantised, batch_size: int) -> None:
        check_precision("int8")
        openvino = load_openvino()
        weights = openvino.Tensor(np.frombuffer(graph.weights, np.uint8))
        model = openvino.Core().read_model(graph.graph, weights)
        super().__init__(model, "int8", graph.taps, graph.feature_shapes, batch_size)
