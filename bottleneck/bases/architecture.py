"""The architecture of a base in Keras, with initial weights."""

import random
from importlib import import_module
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.bases.base import Base, empty_map
from bottleneck.errors import BottleneckError, one_line

Shape = tuple[int, int, int]


def find_builder(base: Base) -> Any:
    """Import the function that builds a base."""
    load_keras()  # first, because it silences TensorFlow's log
    module, name = base.builder.split(":")
    return getattr(import_module(module), name)


def build_architecture(base: Base, shape: Shape) -> Any:
    """Build a base without its classifier, with initial weights.

    Raises
    ------
    BottleneckError
        The images are too small, or Keras's backend cannot run the base.
    """
    builder = find_builder(base)
    drawn = random.getstate()
    try:
        model = builder(weights=None, include_top=False, input_shape=shape, **base.options)
        if base.normalised_scale is not None:
            model = _scale_normalised(model, list(base.normalised_scale))
    except ValueError as error:
        if "backend" in str(error):
            raise BottleneckError(f"{base.name} cannot be built: {one_line(error)}") from error
        # without weights, only the size can be wrong
        raise empty_map(base, shape[0]) from error
    finally:
        random.setstate(drawn)  # Keras drew initial values, which are overwritten
    return model


def _scale_normalised(model: Any, scale: list[float]) -> Any:
    keras = load_keras()

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        tensor = layer(*args, **options)
        if isinstance(layer, keras.layers.Normalization):
            tensor = keras.layers.Rescaling(scale)(tensor)
        return tensor

    return keras.models.clone_model(model, call_function=call)
