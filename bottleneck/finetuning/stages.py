"""Stages of fine-tuning: the tap to unfreeze down to, the number of epochs, the learning rate."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bottleneck.errors import BottleneckError

HEAD = "head"
AUTO = "auto"

_SYNTAX = (
    "expected comma-separated TAP:EPOCHS@RATE, such as mixed9:3@1e-4,mixed7:5@1e-5; instead of a tap, a "
    "number of layers at the top, or head for the head alone"
)
_STAGE = re.compile(r"(?P<above>[^:@]+):(?P<epochs>\d+)@(?P<rate>[^:@]+)")

# Stages of `--stages auto`: unfrozen blocks, epochs, learning rate. Howard and Ruder 2018, Universal Language
# Model Fine-tuning for Text Classification, unfreeze block by block; doubling the number reaches deep layers in
# three stages. A tenth of the learning rate of the head changes pretrained weights only slightly.
_AUTO = ((1, 3, 1e-4), (2, 3, 1e-5), (4, 3, 1e-6))


@dataclass(frozen=True)
class Stage:
    """One step of fine-tuning.

    Attributes
    ----------
    above : str or int
        Train all layers above this tap; or a number of layers at the top of the base, as Keras counts them,
        where 0 is the head alone.
    epochs : int
    learning_rate : float
        Learning rate of the head; in the base it falls with depth.

    Raises
    ------
    BottleneckError
        `epochs` or `learning_rate` is out of range.

    Examples
    --------
    >>> str(Stage("mixed9", 3, 1e-4)), str(Stage(10, 2, 1e-4)), str(Stage(0, 1, 1e-3))
    ('mixed9:3@0.0001', '10:2@0.0001', 'head:1@0.001')
    """

    above: str | int
    epochs: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise BottleneckError(f"a stage takes at least one epoch, not {self.epochs}")
        if not 0 < self.learning_rate < math.inf:
            raise BottleneckError(
                f"a stage takes a learning rate above 0, not {self.learning_rate:g}"
            )

    def __str__(self) -> str:
        return f"{self.above or HEAD}:{self.epochs}@{self.learning_rate:g}"


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Parse the value of ``--stages``.

    Parameters
    ----------
    text : str
        Such as ``mixed9:3@1e-4,mixed7:5@1e-5``.

    Raises
    ------
    BottleneckError
        The text is not of this form.

    Examples
    --------
    >>> parse_stages("head:1@1e-3, mixed9:3@1e-4")
    (Stage(above=0, epochs=1, learning_rate=0.001), Stage(above='mixed9', epochs=3, learning_rate=0.0001))
    """
    stages = []
    for part in text.split(","):
        match = _STAGE.fullmatch(part.strip())
        try:
            rate = float(match["rate"]) if match else math.nan
        except ValueError:
            rate = math.nan
        if match is None or math.isnan(rate):
            raise BottleneckError(f"--stages: {part.strip()!r} is not a stage; {_SYNTAX}")
        above = match["above"].strip()
        stages.append(
            Stage(
                0 if above == HEAD else int(above) if above.isdigit() else above,
                int(match["epochs"]),
                rate,
            )
        )
    return tuple(stages)


def auto_stages(below: Sequence[str]) -> tuple[Stage, ...]:
    """Make the stages of ``--stages auto``: the top block first, then deeper at falling learning rates.

    Parameters
    ----------
    below : sequence of str
        Taps below the tap of the run's features, from the highest to the lowest.

    Raises
    ------
    BottleneckError
        `below` is empty.

    Examples
    --------
    >>> [str(stage) for stage in auto_stages(["mixed9", "mixed8", "mixed7", "mixed6"])]
    ['mixed9:3@0.0001', 'mixed8:3@1e-05', 'mixed6:3@1e-06']
    """
    if not below:
        raise BottleneckError(
            "there is no tap below the tap of the run's features, so --stages auto has nothing to unfreeze; name a "
            "layer with --stages, or give a number of layers with --unfreeze-last"
        )
    stages = [
        Stage(below[blocks - 1], epochs, rate)
        for blocks, epochs, rate in _AUTO
        if blocks <= len(below)
    ]
    return tuple(stages)


def resolve_stages(stages: str | Sequence[Stage]) -> tuple[Stage, ...] | None:
    """Parse stages given as text; None for ``auto``, which depends on the base.

    Raises
    ------
    BottleneckError
        The text is invalid, or there are no stages.
    """
    if stages == AUTO:
        return None
    found = parse_stages(stages) if isinstance(stages, str) else tuple(stages)
    if not found:
        raise BottleneckError(f"there are no stages; {_SYNTAX}")
    return found
