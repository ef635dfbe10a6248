"""Run a base with Keras, on any of its backends."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.backend import has_gpu, load_keras
from bottleneck.bases.network import Network

# On two cores a second batch fills the gaps that the small layers of the first leave: up to a tenth
# more images a second, and never less. Numbers of threads other than TensorFlow's own made it no faster.
_IN_FLIGHT = 2


def constant_graph(network: Network, *, xla: bool = False) -> Any:
    """Trace a network once, with its weights as constants.

    What is constant can be folded: batch normalisation goes into the convolution before it. The
    same layers with variables take a sixth longer.

    Parameters
    ----------
    network : Network
        On the TensorFlow backend.
    xla : bool
        Compile it, once for each number of images.

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
    traced = tf.function(
        features,
        input_signature=[given],
        autograph=False,
        jit_compile=xla,  # not on a CPU, where oneDNN's convolutions are faster than those of XLA
    )
    return traced.get_concrete_function()


# Most images per batch on a GPU: more are no faster, and a crash would lose more of them.
_MOST_ON_GPU = 256


def largest_batch(run: Callable[[int], object], most: int = _MOST_ON_GPU) -> int:
    """Find the largest batch, of the powers of two up to `most`, that fits into the memory of a device.

    Parameters
    ----------
    run : callable
        Runs a batch of this many images, or raises an exception of its backend.
    most : int
        A power of two.

    Examples
    --------
    >>> def run(batch):
    ...     if batch > 100:
    ...         raise RuntimeError("RESOURCE_EXHAUSTED: 12 GiB were asked for")
    >>> largest_batch(run)
    64
    """
    batch = most
    while batch > 1:
        try:
            run(batch)
        except Exception as error:  # each backend has one of its own
            if not _OUT_OF_MEMORY.search(f"{type(error).__name__} {error}"):
                raise
            batch //= 2
        else:
            break
    return batch


def run_full(network: Network, batch: int) -> None:
    """Run as many batches of zeros at once as the conveyor does."""
    engine = KerasEngine(network, batch)
    pixels = np.zeros((batch, *network.model.input_shape[1:]), np.uint8)
    with ThreadPoolExecutor(engine.in_flight) as threads:
        list(threads.map(engine.features, [pixels] * engine.in_flight))


_OUT_OF_MEMORY = re.compile(r"resource.?exhausted|out.?of.?memory", re.IGNORECASE)


class KerasEngine:
    """Runs the base with Keras: on TensorFlow as a graph of constants, traced once; on its GPUs by XLA.

    Parameters
    ----------
    network : Network
    batch_size : int
        Size of every batch.
    """

    name = "keras"

    def __init__(self, network: Network, batch_size: int) -> None:
        self._network = network
        self.batch_size = batch_size
        self._graph = None
        self.in_flight = 1
        if load_keras().backend.backend() == "tensorflow":
            self._graph = constant_graph(network, xla=has_gpu())
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
