"""What a training is to do, and whether on pictures or from the cache."""

import dataclasses
import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bottleneck.cache.atomic import write_atomically
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.checkpoint import FILE_NAME as CHECKPOINT
from bottleneck.finetuning.costs import base_rate, cost_lines, is_cheaper, predict_costs
from bottleneck.finetuning.material import share_lacking
from bottleneck.finetuning.prepare import Prepared
from bottleneck.finetuning.settings import Settings
from bottleneck.runs.run import FILE_NAME

_log = logging.getLogger("bottleneck")

Mode = Literal["auto", "live", "cached"]

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What was asked for, and where it is trained: on pictures, or on activations at a cut.

    Attributes
    ----------
    asked : dict
        Training goes on only where the same is asked for.
    cut : str or None
    """

    asked: dict[str, Any]
    cut: str | None


def find_plan(folder: Path, prepared: Prepared, settings: Settings, mode: Mode) -> Plan:
    """Take the plan of a training that was interrupted, or make one and tell what it costs."""
    _tell_stages(prepared)
    asked = {
        "run": hashlib.sha256((prepared.source / FILE_NAME).read_bytes()).hexdigest(),
        "stages": [str(stage) for stage in prepared.stages],
        "settings": dataclasses.asdict(settings),
        "mode": mode,
    }
    file = folder / PLAN
    if file.exists() and (folder / CHECKPOINT).exists():
        try:
            known = Plan(**json.loads(file.read_bytes()))
        except (ValueError, TypeError) as error:
            raise BottleneckError(
                f"{file} is damaged ({error}); delete {folder} and run the same command again"
            ) from error
        if known.asked != asked:
            changed = [name for name in asked if known.asked.get(name) != asked[name]]
            raise BottleneckError(
                f"{folder} holds a training that was interrupted and had another {' and another '.join(changed)}; run "
                "that one again to end it, delete the folder, or give another one with --out"
            )
        return known
    plan = Plan(asked, _find_cut(prepared, settings, mode))
    write_atomically(file, json.dumps(dataclasses.asdict(plan)).encode())
    return plan


def _tell_stages(prepared: Prepared) -> None:
    for number, (stage, part) in enumerate(zip(prepared.stages, prepared.unfrozen, strict=True), 1):
        _log.info(
            "Stage %d, %s: %s parameters are trained in %d layers of the base and the head, %s are frozen.",
            *(number, stage, f"{part.trainable:,}", len(part.layers), f"{part.frozen:,}"),
        )


def _find_cut(prepared: Prepared, settings: Settings, mode: Mode) -> str | None:
    """Choose where to train from: pictures, or activations at the deepest cut."""
    deepest = prepared.unfrozen[-1].cut
    fresh_views = settings.augment != "none" and not settings.views
    if deepest is None:
        if mode == "cached":
            raise BottleneckError(
                f"stage {prepared.stages[-1]} reaches below the lowest tap of {prepared.graph.base.name}, so there are "
                "no activations to cache; leave --from-cache out, or unfreeze less"
            )
        return None
    if mode == "cached" and fresh_views:
        raise BottleneckError(
            f"--augment {settings.augment} makes another view in each epoch, and a cache keeps a number of them; say "
            "how many with --views, or leave --from-cache out"
        )
    parts = prepared.split.parts
    train_images, val = len(parts["train"]), len(parts["val"])
    free = shutil.disk_usage(prepared.cache).free
    cuts = dict.fromkeys(part.cut for part in prepared.unfrozen if part.cut is not None)
    costs = predict_costs(
        prepared.graph,
        cuts,
        base_rate(prepared.graph),
        train_images,
        len(prepared.split.rows) - train_images,
        val,
        settings.views,
    )
    for line in cost_lines(costs, free):
        _log.info("%s", line)
    if mode == "live":
        return None
    cost = costs[-1]
    lacking = share_lacking(prepared, deepest, settings)
    cost = dataclasses.replace(
        cost, caching=cost.caching * lacking, disk=round(cost.disk * lacking)
    )
    epochs = sum(stage.epochs for stage in prepared.stages)
    cached = mode == "cached" or (not fresh_views and is_cheaper(cost, epochs, free))
    in_all = cost.caching + epochs * cost.cached
    _log.info(
        "%d epochs should take %.0f s live, and %.0f s from activations at %s (%.0f s of them to cache): training %s.",
        *(epochs, epochs * cost.live, in_all, deepest, cost.caching),
        "from the cache (--live forces pictures)" if cached else "live",
    )
    return deepest if cached else None
