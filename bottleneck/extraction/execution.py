"""Where and how features are computed: in this process, or on the workers of a cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bottleneck.extraction.cluster import Cluster, outline
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.dispatch import compute
from bottleneck.extraction.engines.protocol import BuiltBase, Engine
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.plan import Missing, Target, Task
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.extraction.request import FeatureRequest
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.extraction.worker import Outline


@dataclass(frozen=True)
class Execution:
    """How features are computed, and what the computation reports to.

    Attributes
    ----------
    settings : Settings
    progress : Progress
    cluster : Cluster, optional
        The workers to compute on; by default this process computes.
    statistics : ExtractionStatistics
        Updated while features are computed, so it is right after an interruption too.
    """

    settings: Settings
    progress: Progress = no_progress
    cluster: Cluster | None = None
    statistics: ExtractionStatistics = field(default_factory=ExtractionStatistics)


@dataclass(frozen=True)
class Work:
    """Missing features of a cache, and where their images are.

    Attributes
    ----------
    cache : Path
    root : str
        Folder or URL that the images' paths start from.
    images : Missing
    targets : sequence of Target
        Recipes that miss features of some of the images.
    """

    cache: Path
    root: str
    images: Missing
    targets: Sequence[Target]

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of the targets."""
        return tuple(dict.fromkeys(target.recipe.tap for target in self.targets))


class Executor(Protocol):
    """Builds a base and computes features with it."""

    def build(self, taps: tuple[str, ...]) -> BuiltBase:
        """Build the base up to some taps."""
        ...

    def run(self, work: Work, check: Callable[[BuiltBase], None]) -> None:
        """Compute missing features; `check` is called with the base before anything is sealed."""
        ...


def choose_executor(execution: Execution, request: FeatureRequest, cache: Path) -> Executor:
    """Return the executor that an execution asks for."""
    if execution.cluster is None:
        return _LocalExecutor(execution, request)
    return _ClusterExecutor(execution, execution.cluster, request, cache)


class _LocalExecutor:
    def __init__(self, execution: Execution, request: FeatureRequest) -> None:
        self._execution, self._request = execution, request
        self._built: BuiltBase | None = None

    def build(self, taps: tuple[str, ...]) -> BuiltBase:
        step, progress = f"loading {self._request.base.name}", self._execution.progress
        progress(step, 0, 0)
        self._built = self._request.build(taps)
        progress(step, 1, 1)
        return self._built

    def run(self, work: Work, check: Callable[[BuiltBase], None]) -> None:
        settings, progress = self._execution.settings, self._execution.progress
        statistics = self._execution.statistics
        finished, total = 0, work.images.total

        def start() -> Engine:
            # only if an image has to be computed, which may turn out when the images are read
            built = self._built or self.build(work.taps)
            check(built)
            step = f"tracing {self._request.base.name}"
            progress(step, 0, 0)
            engine = start_engine(built, settings.engine, settings.batch_size)
            progress(step, 1, 1)
            statistics.engine = engine.name
            return engine

        def done(views: int) -> None:
            nonlocal finished
            finished += views
            progress("extracting", finished, total)

        progress("extracting", 0, total)
        run_task(
            Task(work.images),
            root=work.root,
            features=work.cache / "features",
            targets=work.targets,
            start=start,
            settings=settings,
            tally=statistics,
            done=done,
        )


class _ClusterExecutor:
    """Has the workers build the base; nothing is loaded in this process."""

    def __init__(
        self, execution: Execution, cluster: Cluster, request: FeatureRequest, cache: Path
    ) -> None:
        self._execution, self._cluster = execution, cluster
        self._request, self._cache = request, cache
        self._built: Outline | None = None

    def build(self, taps: tuple[str, ...]) -> Outline:
        step, progress = f"loading {self._request.base.name}", self._execution.progress
        progress(step, 0, 0)
        self._built = outline(
            self._cluster, self._request, taps, self._execution.settings, self._cache
        )
        progress(step, 1, 1)
        return self._built

    def run(self, work: Work, check: Callable[[BuiltBase], None]) -> None:
        built = self._built or self.build(work.taps)
        check(built)
        compute(
            self._cluster,
            *(work.images, work.root, work.cache, work.targets),
            self._request,
            built,
            self._execution.settings,
            self._execution.statistics,
            self._execution.progress,
        )
