"""Statistics of an extraction in progress."""

from dataclasses import dataclass, field


@dataclass
class ExtractionStatistics:
    """What was computed so far, and how long each stage took.

    Attributes
    ----------
    computed : int
        Number of views whose features were sealed.
    digests : list of bytes
        SHA-256 of the files that were read for the first time, in their order; empty bytes if reading failed.
    unreadable : dict
        Reason by path, for files that could not be read.
    undecodable : dict
        Reason by digest, for bytes that are not a usable image.
    read, decode, base, write : float
        Seconds of work in each stage: `read` and `decode` are summed over threads, `base` is the time during
        which the engine ran one or more batches.
    starved, awaited, blocked : float
        Seconds the calling thread waited for pixels, for the base, and for a shard to be written.
    engine : str
        Name of the engine; empty if the base did not run.
    workers : dict of str to int
        Views computed by each worker of a cluster.
    """

    computed: int = 0
    digests: list[bytes] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, str] = field(default_factory=dict)
    read: float = 0.0
    decode: float = 0.0
    base: float = 0.0
    write: float = 0.0
    starved: float = 0.0
    awaited: float = 0.0
    blocked: float = 0.0
    engine: str = ""
    workers: dict[str, int] = field(default_factory=dict)
    _ran_until: float = 0.0

    def ran(self, began: float, ended: float) -> None:
        """Add a time during which the engine ran a batch; overlapping times count once."""
        self.base += max(ended - max(began, self._ran_until), 0.0)
        self._ran_until = max(ended, self._ran_until)

    def add(self, other: "ExtractionStatistics", worker: str) -> None:
        """Add the statistics of a worker."""
        for name in (
            "computed",
            "read",
            "decode",
            "base",
            "write",
            "starved",
            "awaited",
            "blocked",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unreadable |= other.unreadable
        self.undecodable |= other.undecodable
        self.engine = other.engine or self.engine
        self.workers[worker] = self.workers.get(worker, 0) + other.computed

    @property
    def bottleneck(self) -> str:
        """The stage that limited the speed; empty if there was nothing to do."""
        waits = {"starved": self.starved, "blocked": self.blocked, "base": self.awaited}
        slowest = max(waits, key=lambda name: waits[name])
        if not waits[slowest]:
            return ""
        if slowest == "starved":
            return "read" if self.read > self.decode else "decode"
        return "write" if slowest == "blocked" else "base"
