"""Keras, imported when a base has to run and not before."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


def load_keras() -> Any:
    """Import Keras and its backend, without their chatter.

    TensorFlow's C++ code writes a dozen lines about CUDA and oneDNN straight to file descriptor 2,
    some of them whatever its log level. They would bury our own messages. They are shown if the
    import fails, and always if ``TF_CPP_MIN_LOG_LEVEL`` is set.
    """
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with quiet_stderr():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow

            # the search for a GPU chatters too
            for gpu in tensorflow.config.list_physical_devices("GPU"):
                # it would take all of its memory at once, from whoever else is there
                with contextlib.suppress(RuntimeError):  # somebody has begun to use it
                    tensorflow.config.experimental.set_memory_growth(gpu, True)
    return keras


def has_gpu() -> bool:
    """Whether Keras's backend finds a GPU."""
    backend = load_keras().backend.backend()
    if backend == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    import torch

    return bool(torch.cuda.is_available())


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ code writes to file descriptor 2 to ourselves, unless it ends in an error."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):  # no stderr at all: nothing to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            said.seek(0)
            os.write(2, said.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
