"""How fine-tuning is done, besides its stages."""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bottleneck.bases.network import PRECISIONS, Precision
from bottleneck.errors import BottleneckError
from bottleneck.images.augment import parse_augmentation

Decay = Literal["cosine", "none"]


@dataclass(frozen=True)
class Settings:
    """How fine-tuning is done, besides its stages.

    Attributes
    ----------
    batch_size : int
        Images to a step.
    layer_decay : float
        What the rate is multiplied by from one layer of the base to the one below.
    warm_up : float
        Share of a stage's steps over which the rate rises to its value.
    decay : {"cosine", "none"}
        Whether it then falls to 0 along a cosine, or stays.
    weight_decay : float
        What kernels lose in a step, times the rate.
    label_smoothing : float
        Share of each label that is spread over all classes.
    dropout : float, optional
        Share of what the last layer of the head takes in that is left out; by default the head's own.
    clip_norm : float, optional
        The most the length of a step's gradient, over all layers, may be.
    class_weight : {"balanced"}, optional
        Let all classes count the same however often they occur.
    precision : {"float32", "bfloat16", "float16"}
        What the base computes in while it is trained; weights stay float32.
    patience : int, optional
        End a stage after so many epochs whose log loss in validation was no less.
    train_batchnorm : bool
        Let batch normalisation above the cut use and learn the statistics of the batches, rather than
        keep those of ImageNet.
    augment : str
        How views are made that are trained on, see `bottleneck.images.augment.parse_augmentation`.
    views : int
        Train on so many views of each picture in turn; 0 is another one in each epoch.
    seed : int
        Of the order of the images and of what is left out.

    Raises
    ------
    BottleneckError
        A value is out of range.
    """

    # Small sets have few steps an epoch, and small batches generalise well (Masters and Luschi 2018).
    batch_size: int = 32
    # As Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT) use it, layer by layer, near 0.9.
    layer_decay: float = 0.9
    # Adam's first steps are as long as the rate allows whatever the gradient is, until it has seen enough of
    # them (Ma and Yarats 2021, On the adequacy of untuned warmup); a stage may have but a few dozen steps.
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
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise BottleneckError(
                    f"{_option(name)} takes a number from {least:g} to {most:g}, not {value:g}"
                )
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise BottleneckError(f"{_option(name)} takes {', '.join(known)}, not {value!r}")
        plain = str(parse_augmentation(self.augment)) == "none"
        if self.views and plain:
            raise BottleneckError(
                f"--views {self.views} asks for views that differ from the plain picture; say how with --augment"
            )


_UNLIMITED = float("inf")
# the least and the most a number may be
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

# What a file may say besides: the stages, and where they are trained.
_BESIDES = ("stages", "unfreeze_last", "epochs", "learning_rate", "mode")


def read_config(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file of stages and settings.

    Parameters
    ----------
    file : path
        ``stages`` is text as on the command line, or a list of ``{above, epochs, learning_rate}``;
        other names are those of options, with ``_`` or ``-``.

    Raises
    ------
    BottleneckError
        It cannot be read, is no YAML, or names something else.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise BottleneckError(f"--config {file} cannot be read: {said}") from error
    if not isinstance(content, Mapping):
        raise BottleneckError(
            f"--config {file} holds no names with values, such as stages: mixed9:3@1e-4"
        )
    known = [*(field.name for field in dataclasses.fields(Settings)), *_BESIDES]
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
    # YAML takes 1e-4 for text: its numbers have a point
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
