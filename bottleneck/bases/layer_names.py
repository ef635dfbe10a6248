"""Names of layers, as Keras makes them from their classes."""

import re
from typing import Any


def count_names_from_zero(model: Any) -> None:
    """Rename layers as in the first network that a process builds.

    Keras numbers unnamed layers over the life of the process, and a tap is named after its layer.
    """
    numbered = [
        (operation, kind, int(number or 0))
        for operation in model.operations
        for kind, number in re.findall(r"^(.+?)(?:_(\d+))?$", operation.name)
        if kind == snake_case(type(operation).__name__)
    ]
    first: dict[str, int] = {}
    for _, kind, number in numbered:
        first[kind] = min(number, first.get(kind, number))
    for operation, kind, number in numbered:
        count = number - first[kind]
        operation.name = f"{kind}_{count}" if count else kind


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in layer names: ``conv2d_transpose`` for ``Conv2DTranspose``."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
