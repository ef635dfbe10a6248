"""Settings of fine-tuning, apart from its stages."""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bottleneck.bases.network import PRECISIONS, Precision
from bottleneck.errors import BottleneckError, one_line
from bottleneck.images.augment import parse_augmentation

Decay = Literal["cosine", "none"]


@dataclass(frozen=True)
class Settings:
    """Settings of fine-tuning, apart from its stages.

    Attributes
    ----------
    batch_size : int
        Images per step.
    layer_decay : float
        Learning-rate factor from one layer of the base to the layer below.
    warm_up : float
        Share of a stage's steps in which the learning rate rises to its value.
    decay : {"cosine", "none"}
        Whether the learning rate then falls to 0 along a cosine, or stays constant.
    weight_decay : float
        Decoupled weight decay of the kernels.
    label_smoothing : float
        Share of each label that is spread over all classes.
    dropout : float, optional
        Dropout rate before the head's last layer; by default the head's own.
    clip_norm : float, optional
        Gradient clipping: maximum norm over all layers.
    class_weight : {"balanced"}, optional
        Weight classes inversely to their frequency.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the base's computation during training; weights stay float32.
    patience : int, optional
        Early stopping: end a stage after this many epochs without a lower validation log loss.
    train_batchnorm : bool
        Let batch normalisation above the cut use and learn the statistics of the batches; otherwise it keeps
        those of ImageNet.
    augment : str
        How the views to train on are made, see `bottleneck.images.augment.parse_augmentation`.
    views : int
        Number of views of each image to train on, one per epoch in turn; 0 means a new view in each epoch.
    seed : int
        Random seed for the order of the images and for dropout.

    Raises
    ------
    BottleneckError
        A value is out of range.
    """

    # Small sets have few steps per epoch, and small batches generalise well (Masters and Luschi 2018).
    batch_size: int = 32
    # Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT) use values near 0.9, layer by layer.
    layer_decay: float = 0.9
    # Adam's first steps have the full length of the learning rate whatever the gradient is (Ma and Yarats 2021, On
    # the adequacy of untuned warmup), and a stage may have only a few dozen steps.
    warm_up: float = 0.3
    decay: Decay = "cosine"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float | None = None
    clip_norm: float | None = None
    class_weight: Literal["balanced"] | None = None
    precision: Precision = "float32"
    patience: int | None = None
    train_batchnorm: bool = False
    augment: str = "none"
    views: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise BottleneckError(
                    f"{_option(name)} takes a number from {low:g} to {high:g}, not {value:g}"
                )
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise BottleneckError(f"{_option(name)} takes {', '.join(known)}, not {value!r}")
        plain = str(parse_augmentation(self.augment)) == "none"
        if self.views and plain:
            raise BottleneckError(
                f"--views {self.views} needs an augmentation; say how with --augment"
            )


_UNLIMITED = float("inf")
# smallest and largest value of each number
_LIMITS = {
    "batch_size": (1, _UNLIMITED),
    "layer_decay": (1e-6, 1),
    "warm_up": (0, 1),
    "weight_decay": (0, _UNLIMITED),
    "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99),
    "clip_norm": (1e-12, _UNLIMITED),
    "patience": (1, _UNLIMITED),
    "views": (0, 65_535),
    "seed": (0, _UNLIMITED),
}
_CHOICES = {
    "decay": get_args(Decay),
    "class_weight": ("balanced",),
    "precision": PRECISIONS,
}

# Other names that a file may contain.
_OTHERS = ("stages", "unfreeze_last", "epochs", "learning_rate", "mode")


def read_config(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file of stages and settings.

    Parameters
    ----------
    file : path
        ``stages`` is text as on the command line, or a list of ``{above, epochs, learning_rate}``;
        all other names are those of options, with ``_`` or ``-``.

    Raises
    ------
    BottleneckError
        The file cannot be read, is not YAML, or contains an unknown name.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = one_line(error)
        raise BottleneckError(f"--config {file} cannot be read: {reason}") from error
    if not isinstance(content, Mapping):
        raise BottleneckError(
            f"--config {file} is not a mapping of names to values, such as stages: mixed9:3@1e-4"
        )
    known = [*(field.name for field in dataclasses.fields(Settings)), *_OTHERS]
    found = {str(name).replace("-", "_"): value for name, value in content.items()}
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else "."
            raise BottleneckError(
                f"--config {file}: unknown {name!r}{guess} It takes {', '.join(known)}"
            )
    return {name: _typed(name, value) for name, value in found.items()}


def _typed(name: str, value: Any) -> Any:
    # YAML reads 1e-4 as text, because its floats need a decimal point
    numbers = {*_LIMITS, "learning_rate"} - {"batch_size", "patience", "views", "seed"}
    if name in numbers and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise BottleneckError(f"--config: {name} takes a number, not {value!r}") from None
    if name == "stages" and isinstance(value, list):
        return ",".join(_stage_text(part) for part in value)
    return value


def _stage_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    try:
        return f"{part['above']}:{part['epochs']}@{part['learning_rate']}"
    except (TypeError, KeyError) as error:
        raise BottleneckError(
            f"--config: a stage takes above, epochs and learning_rate, not {part!r}"
        ) from error


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
