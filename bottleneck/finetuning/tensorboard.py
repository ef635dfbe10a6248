"""TensorBoard logs of fine-tuning."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator

from bottleneck.errors import BottleneckError
from bottleneck.finetuning.checkpoint import Epoch


@contextlib.contextmanager
def log_epochs(folder: str | os.PathLike[str] | None) -> Iterator[Callable[[int, Epoch], None]]:
    """Give a function that logs an epoch by its number; without a folder it does nothing.

    Raises
    ------
    BottleneckError
        TensorBoard is not installed.
    """
    if folder is None:
        yield lambda *_: None
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise BottleneckError(
            "--tensorboard needs TensorBoard, which is not installed: pip install 'bottleneck-features[tensorboard]'"
        )
    import tensorflow as tf

    with contextlib.closing(tf.summary.create_file_writer(os.fspath(folder))) as writer:

        def log_epoch(number: int, epoch: Epoch) -> None:
            with writer.as_default(number):
                tf.summary.scalar("loss", epoch.loss)
                tf.summary.scalar("learning_rate", epoch.learning_rate)
                tf.summary.scalar("val_loss", epoch.val.log_loss)
                tf.summary.scalar("val_accuracy", epoch.val.accuracy)
            writer.flush()

        yield log_epoch
