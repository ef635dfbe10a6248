"""Training on several devices at once, with TensorFlow."""

import contextlib
from collections.abc import Iterator
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.errors import BottleneckError


@contextlib.contextmanager
def training_devices(wanted: int | None) -> Iterator[int]:
    """Build and train models on several devices; each gets a part of every batch.

    Parameters
    ----------
    wanted : int, optional
        Number of GPUs, or of CPU devices if there is no GPU; by default all GPUs.

    Yields
    ------
    int
        Number of devices used.

    Raises
    ------
    BottleneckError
        There are fewer devices, or Keras does not run on TensorFlow.
    """
    keras = load_keras()
    if keras.backend.backend() != "tensorflow":
        if (wanted or 1) > 1:
            raise BottleneckError(
                f"--devices {wanted} needs Keras on TensorFlow, and it runs on {keras.backend.backend()}; set "
                "KERAS_BACKEND=tensorflow, or leave --devices out"
            )
        yield 1
        return
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    count = wanted or (len(found) if kind == "GPU" else 1)
    if count > len(found):
        raise BottleneckError(
            f"--devices {count} asks for more than there are: TensorFlow sees {len(found)} of kind {kind}"
        )
    if count == 1:
        yield 1
        return
    with tf.distribute.MirroredStrategy(found[:count]).scope():
        yield count


def count_devices(model: Any) -> int:
    """Return how many devices a model is trained on."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.num_replicas_in_sync if strategy else 1


def split_over_devices(model: Any, data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Split a batch evenly over the devices; its rows are a multiple of their number."""
    count = count_devices(model)
    if count == 1:
        return data
    import tensorflow as tf

    def part(values: Any) -> Any:
        rows = len(values) // count
        return model.distribute_strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values[
                    context.replica_id_in_sync_group * rows : (context.replica_id_in_sync_group + 1)
                    * rows
                ]
            )
        )

    return tuple(map(part, data))
