"""Settings that all heads of a comparison share."""

from dataclasses import dataclass

from bottleneck.heads.split import Split


@dataclass(frozen=True)
class Settings:
    """What is the same for every head of a comparison.

    Attributes
    ----------
    split : Split
        Its training images are fitted on, its other images are scored.
    seed : int
        Random seed for the heads and the confidence intervals.
    top_k : int
        The k of top-k accuracy.
    memory : int or None
        Memory for features, in bytes; None for half of the free memory.
    """

    split: Split
    seed: int
    top_k: int
    memory: int | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return self.split.classes
