"""Which learning rate to train a stage at, tried out in one sweep."""

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

# From where nothing moves to where everything breaks, in so many steps.
_LEAST, _MOST, _STEPS = 1e-7, 1.0, 100

# Losses are averaged over about so many steps, for single batches differ.
_SMOOTHING = 10

# Where the smoothed loss is so many times the least, it only grows.
_DIVERGED = 4.0

# Steps in which the rate becomes ten times as large: over so many a slope is taken.
_DECADE = round(_STEPS / math.log10(_MOST / _LEAST))


@dataclass(frozen=True)
class RateSweep:
    """Losses along rising learning rates.

    Attributes
    ----------
    rates, losses : tuple of float
        The loss of each step, in nats, smoothed over some.
    suggestion : float
        A rate to train at: where the loss falls steepest.
    plot, table : str
        The files they are drawn and written in.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    plot: str
    table: str

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
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
    """Train the first stage on pictures at rates that rise from step to step, and look at the loss.

    Nothing of what is learnt is kept; a plot and a table are left beside the run.

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
        As for `bottleneck.finetune`; or no loss is a number.

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
    rates = np.geomspace(_LEAST, _MOST, _STEPS)
    losses: list[float] = []
    for step, batch in enumerate(_endless(data, settings, find_batch_size(model, data, settings))):
        progress("trying learning rates", step, _STEPS)
        if step == _STEPS or _has_diverged(losses):
            break
        loss = train_epoch(model, [batch], partial(_at, float(rates[step])))
        if not math.isfinite(loss):
            break
        losses.append(loss)
    progress("trying learning rates", _STEPS, _STEPS)
    if not losses:
        raise BottleneckError(
            f"no learning rate can be found: the loss is no number at {_LEAST:g} already; check the features with: "
            f"bottleneck cache verify {name_of(prepared.cache)}"
        )
    smooth = _smoothed(losses)
    tried = tuple(map(float, rates[: len(smooth)]))
    suggestion = _steepest(tried, smooth)
    plot = free_name(prepared.source.parent, f"{prepared.source.name}-learning-rates.png")
    _draw(plot, tried, smooth, suggestion, str(prepared.stages[0].above))
    table = plot.with_suffix(".csv")
    write_table(table, ["learning_rate", "loss"], zip(tried, smooth, strict=True))
    return RateSweep(tried, smooth, suggestion, str(plot), str(table))


def _at(rate: float, _: int) -> float:
    return rate


def _endless(data: TrainingData, settings: Settings, size: int) -> Iterator[Batch]:
    train = data.indices("train")
    rng = np.random.default_rng(settings.seed)
    while True:
        parts = np.array_split(rng.permutation(train), steps(len(train), settings.batch_size))
        yield from make_batches(data, parts, 0, settings, size)


def _smoothed(losses: Sequence[float]) -> tuple[float, ...]:
    """Average exponentially, corrected for the start, as Kingma and Ba 2015 have it."""
    kept, total, found = 1 - 1 / _SMOOTHING, 0.0, []
    for step, loss in enumerate(losses, 1):
        total = kept * total + (1 - kept) * loss
        found.append(total / (1 - kept**step))
    return tuple(found)


def _steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Give the rate in the middle of the decade in which the loss falls most."""
    logs = np.log10(rates)
    starts = range(max(len(logs) - _DECADE, 1))
    parts = [slice(start, start + _DECADE) for start in starts]
    slopes = [np.polyfit(logs[part], losses[part], 1)[0] for part in parts if len(logs) > 1]
    best = parts[int(np.argmin(slopes))] if slopes else parts[0]
    return float(10 ** logs[best].mean())


def _has_diverged(losses: Sequence[float]) -> bool:
    return bool(losses) and _smoothed(losses)[-1] > _DIVERGED * min(_smoothed(losses))


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
