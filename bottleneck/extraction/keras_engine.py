"""The base run by Keras, on whatever backend it has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import load_keras
from bottleneck.bases.network import Network

# On two cores a second batch fills the gaps that the small layers of the first leave: up to a tenth
# more images a second, and never less. Numbers of threads other than TensorFlow's own made it no faster.
_IN_FLIGHT = 2


def constant_graph(network: Network) -> Any:
    """Trace a network once, with its weights as constants.

    What is constant can be folded: batch normalisation goes into the convolution before it. The
    same layers with variables take a sixth longer.

    Parameters
    ----------
    network : Network
        On the TensorFlow backend.

    Returns
    -------
    tf.types.experimental.ConcreteFunction
        From uint8 pixels ``(n, size, size, 3)``, for any `n`, to a list of float32 features.
    """
    import tensorflow as tf

    model = network.model
    held = [
        [np.asarray(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    def features(pixels: Any) -> Any:
        # arrays become constants of the graph where they are made inside it, and inputs otherwise
        constants = [[tf.constant(array) for array in arrays] for arrays in held]
        outputs, _ = model.stateless_call(*constants, pixels, training=False)
        return load_keras().tree.flatten(outputs)

    given = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return tf.function(features, input_signature=[given], autograph=False).get_concrete_function()


class KerasEngine:
    """Runs the base with Keras: on TensorFlow as a graph of constants, traced once."""

    name = "keras"

    def __init__(self, network: Network) -> None:
        self._network = network
        self._graph = None
        self.in_flight = 1
        if load_keras().backend.backend() == "tensorflow":
            self._graph = constant_graph(network)
            self.in_flight = _IN_FLIGHT

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps, in the order of the features."""
        return self._network.taps

    @property
    def feature_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's features, for each tap."""
        return self._network.feature_shapes

    def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run the base over a batch."""
        if self._graph is None:
            return self._network.features(pixels)
        import tensorflow as tf

        return tuple(output.numpy() for output in self._graph(tf.constant(pixels)))
