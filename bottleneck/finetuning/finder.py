"""Learning-rate finder: one sweep over rising learning rates."""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.cache.location import name_of
from bottleneck.errors import BottleneckError
from bottleneck.extraction import conveyor
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.finetuning.batches import Batch, find_batch_size, make_batches
from bottleneck.finetuning.data import load_training_data
from bottleneck.finetuning.graph import freeze_but
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.model import compile_model, make_model, train_epoch
from bottleneck.finetuning.prepare import prepare_run
from bottleneck.finetuning.rates import layer_rates
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import AUTO, Stage, resolve_stages
from bottleneck.heads.epochs import steps
from bottleneck.images.decode import MAX_PIXELS
from bottleneck.runs.run import free_name
from bottleneck.runs.table import write_table

# Range of the sweep, from no visible effect to divergence, and its number of steps.
_LOW, _HIGH, _STEPS = 1e-7, 1.0, 100

# The loss is smoothed over about this many steps, because it varies between batches.
_SMOOTHING = 10

# Training has diverged if the smoothed loss is this many times its minimum.
_DIVERGED = 4.0

# Steps over which the learning rate grows tenfold; slopes are measured over this many.
_DECADE = round(_STEPS / math.log10(_HIGH / _LOW))


@dataclass(frozen=True)
class RateSweep:
    """Losses at rising learning rates.

    Attributes
    ----------
    rates, losses : tuple of float
        Learning rate and smoothed loss of each step, in nats.
    suggestion : float
        The learning rate at which the loss falls fastest.
    plot, table : str
        Files of the plot and the table.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    plot: str
    table: str

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON."""
        return dataclasses.asdict(self)


def find_rate(
    run: str | os.PathLike[str],
    stages: str | Sequence[Stage] = AUTO,
    settings: Settings | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> RateSweep:
    """Train the first stage on images at rising learning rates and record the loss.

    The trained weights are discarded; a plot and a table are written next to the run.

    Parameters
    ----------
    run, stages, settings, cache, weights, workers, max_pixels, progress
        As for `bottleneck.finetune`.

    Returns
    -------
    RateSweep

    Raises
    ------
    BottleneckError
        As for `bottleneck.finetune`, or the first loss is not finite.

    Notes
    -----
    Smith 2017, Cyclical Learning Rates for Training Neural Networks.
    """
    settings = settings or Settings()
    decoding = conveyor.Settings(
        workers=conveyor.Settings().workers if workers is None else workers, max_pixels=max_pixels
    )
    prepared = prepare_run(run, resolve_stages(stages), settings, cache, weights, progress)
    graph, data = prepared.graph, load_training_data(prepared, None, decoding, progress)
    freeze_but(graph, prepared.unfrozen[0].layers)
    model = make_model(graph, None, prepared.unfrozen[0], settings)
    compile_model(model, layer_rates(graph, settings.layer_decay), settings)
    rates = np.geomspace(_LOW, _HIGH, _STEPS)
    losses: list[float] = []
    for step, batch in enumerate(
        _repeat_batches(data, settings, find_batch_size(model, data, settings))
    ):
        progress("trying learning rates", step, _STEPS)
        if step == _STEPS or _has_diverged(losses):
            break
        loss = train_epoch(model, [batch], partial(_constant, float(rates[step])))
        if not math.isfinite(loss):
            break
        losses.append(loss)
    progress("trying learning rates", _STEPS, _STEPS)
    if not losses:
        raise BottleneckError(
            f"no learning rate found: the loss is not finite at {_LOW:g} already; check the features with: "
            f"bottleneck cache verify {name_of(prepared.cache)}"
        )
    smooth = _smooth(losses)
    tried = tuple(map(float, rates[: len(smooth)]))
    suggestion = _find_steepest(tried, smooth)
    plot = free_name(prepared.source.parent, f"{prepared.source.name}-learning-rates.png")
    _draw(plot, tried, smooth, suggestion, str(prepared.stages[0].above))
    table = plot.with_suffix(".csv")
    write_table(table, ["learning_rate", "loss"], zip(tried, smooth, strict=True))
    return RateSweep(tried, smooth, suggestion, str(plot), str(table))


def _constant(rate: float, _: int) -> float:
    return rate


def _repeat_batches(data: TrainingData, settings: Settings, size: int) -> Iterator[Batch]:
    train = data.indices("train")
    rng = np.random.default_rng(settings.seed)
    while True:
        parts = np.array_split(rng.permutation(train), steps(len(train), settings.batch_size))
        yield from make_batches(data, parts, 0, settings, size)


def _smooth(losses: Sequence[float]) -> tuple[float, ...]:
    """Average exponentially with bias correction (Kingma and Ba 2015)."""
    kept, total, found = 1 - 1 / _SMOOTHING, 0.0, []
    for step, loss in enumerate(losses, 1):
        total = kept * total + (1 - kept) * loss
        found.append(total / (1 - kept**step))
    return tuple(found)


def _find_steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the learning rate in the middle of the decade in which the loss falls most."""
    logs = np.log10(rates)
    starts = range(max(len(logs) - _DECADE, 1))
    parts = [slice(start, start + _DECADE) for start in starts]
    slopes = [np.polyfit(logs[part], losses[part], 1)[0] for part in parts if len(logs) > 1]
    best = parts[int(np.argmin(slopes))] if slopes else parts[0]
    return float(10 ** logs[best].mean())


def _has_diverged(losses: Sequence[float]) -> bool:
    return bool(losses) and _smooth(losses)[-1] > _DIVERGED * min(_smooth(losses))


def _draw(
    file: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float, above: str
) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.0, 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.semilogx(rates, losses, color="#0072b2")
        axes.axvline(suggestion, color="#d55e00", ls="--", lw=1)
        axes.annotate(
            f"{suggestion:.1e}", (suggestion, max(losses)), (4, -8), textcoords="offset points"
        )
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss, smoothed (nats)")
        axes.set_title(f"above {above}", parse_math=False)
        figure.savefig(file, dpi=144)
