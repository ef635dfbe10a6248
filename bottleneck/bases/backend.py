"""Keras, imported only when a network has to run."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


def load_keras() -> Any:
    """Import Keras and its backend, without their log output.

    TensorFlow's C++ code writes a dozen lines about CUDA and oneDNN to file descriptor 2, some of them at
    every log level. They are shown if the import fails, and always if ``TF_CPP_MIN_LOG_LEVEL`` is set.
    """
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with quiet_stderr():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow

            # the search for GPUs writes log lines too
            for gpu in tensorflow.config.list_physical_devices("GPU"):
                # by default TensorFlow takes all memory of the GPU at once
                with contextlib.suppress(RuntimeError):  # the GPU is already in use
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
    """Hide what C++ code writes to file descriptor 2, unless an exception is raised."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            output.seek(0)
            os.write(2, output.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
