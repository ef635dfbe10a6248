"""The report of an extraction."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Stages whose name in the text differs from that in JSON, which stays.
_LABELS = {"base": "network"}


@dataclass(frozen=True)
class Stages:
    """Seconds of work in each stage.

    Reading and decoding are summed over their threads; `base` is the time during which the engine ran.
    """

    read: float
    decode: float
    base: float
    write: float


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction did.

    Attributes
    ----------
    cache : str
        The cache's folder.
    recipes : tuple of str
        Ids of the recipes, one for each tap.
    images : int
        Images in the listing. Where only the plain view of each is kept, they are
        ``computed + reused + failed``.
    views : int
        Views of each image besides the plain one.
    computed : int
        Views of distinct images the base was run on, plain ones included.
    reused : int
        Views of usable images whose features were there, or are those of a duplicate.
    failed : int
        Images that cannot be used; the listing says why.
    seconds : float
        From start to end, loading of the network included.
    images_per_second : float
        ``computed / seconds``.
    stages : Stages
        Where the time went.
    held_back_by : str
        The stage that limited the speed; empty if nothing was computed.
    engine : str
        What ran the base, ``keras`` or ``openvino``; empty where nothing was computed.
    workers : dict of str to int
        What each worker of a cluster computed, by its name; empty without one.
    """

    cache: str
    recipes: tuple[str, ...]
    images: int
    views: int
    computed: int
    reused: int
    failed: int
    seconds: float
    images_per_second: float
    stages: Stages
    held_back_by: str
    engine: str
    workers: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it; seconds are rounded to milliseconds."""
        fields = dataclasses.asdict(self)
        fields["stages"] = {name: round(value, 3) for name, value in fields["stages"].items()}
        fields["seconds"] = round(self.seconds, 3)
        fields["images_per_second"] = round(self.images_per_second, 3)
        return fields

    def __str__(self) -> str:
        rate = f" ({self.images_per_second:.1f} a second)" if self.computed else ""
        views = f" in {self.views + 1} views" if self.views else ""
        what = (
            f"{self.images:,} images{views} in {self.seconds:.1f} s: {self.computed:,} computed{rate}, "
            f"{self.reused:,} reused, {self.failed:,} failed."
        )
        if not self.held_back_by:
            return what
        spent = dataclasses.asdict(self.stages)
        where = ", ".join(
            f"{_LABELS.get(name, name)} {seconds:.1f} s" for name, seconds in spent.items()
        )
        shares = ", ".join(
            f"{name} computed {count:,}" for name, count in sorted(self.workers.items())
        )
        by = f" Workers: {shares}." if shares else ""
        slowest = _LABELS.get(self.held_back_by, self.held_back_by)
        return f"{what}\nTime: {where}; bottleneck: {slowest}. Engine: {self.engine}.{by}"
