"""The plan of a training: its stages and settings, and whether it uses images or the cache."""

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
from bottleneck.finetuning.data import missing_share
from bottleneck.finetuning.prepare import PreparedRun
from bottleneck.runs.run import FILE_NAME

_log = logging.getLogger("bottleneck")

Mode = Literal["auto", "live", "cached"]

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What was asked for, and what the model is trained on.

    Attributes
    ----------
    asked : dict
        Run, stages, settings and mode. An interrupted training continues only if they are the same.
    cut : str or None
        The tap whose activations are trained on; None for images.
    """

    asked: dict[str, Any]
    cut: str | None


def find_plan(folder: Path, prepared: PreparedRun, mode: Mode) -> Plan:
    """Read the plan of an interrupted training, or make one and log its cost.

    Parameters
    ----------
    folder : Path
        Folder of the unfinished run.
    prepared : PreparedRun
    mode : {"auto", "live", "cached"}

    Raises
    ------
    BottleneckError
        The folder holds another training or a damaged plan, or the stages cannot be trained from the cache.
    """
    _log_stages(prepared)
    asked = {
        "run": hashlib.sha256((prepared.source / FILE_NAME).read_bytes()).hexdigest(),
        "stages": [str(stage) for stage in prepared.stages],
        "settings": dataclasses.asdict(prepared.settings),
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
                f"{folder} holds an interrupted training that had another {' and another '.join(changed)}; run that "
                "command again to finish it, delete the folder, or give another folder with --out"
            )
        return known
    plan = Plan(asked, _choose_cut(prepared, mode))
    write_atomically(file, json.dumps(dataclasses.asdict(plan)).encode())
    return plan


def _log_stages(prepared: PreparedRun) -> None:
    for number, (stage, part) in enumerate(zip(prepared.stages, prepared.unfrozen, strict=True), 1):
        _log.info(
            "Stage %d, %s: %s parameters are trained in %d layers of the base and the head, %s are frozen.",
            *(number, stage, f"{part.trainable:,}", len(part.layers), f"{part.frozen:,}"),
        )


def _choose_cut(prepared: PreparedRun, mode: Mode) -> str | None:
    """Choose between images and the activations at the deepest cut."""
    settings = prepared.settings
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
            f"--augment {settings.augment} makes a new view in each epoch, and a cache holds a fixed number; say how "
            "many with --views, or leave --from-cache out"
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
    missing = missing_share(prepared, deepest)
    cost = dataclasses.replace(
        cost, caching=cost.caching * missing, disk=round(cost.disk * missing)
    )
    epochs = sum(stage.epochs for stage in prepared.stages)
    cached = mode == "cached" or (not fresh_views and is_cheaper(cost, epochs, free))
    from_cache = cost.caching + epochs * cost.cached
    _log.info(
        "Estimated time for %d epochs: %.0f s live, %.0f s from activations at %s (%.0f s of it to cache them). "
        "Training %s.",
        *(epochs, epochs * cost.live, from_cache, deepest, cost.caching),
        "from the cache (--live trains on images instead)" if cached else "live",
    )
    return deepest if cached else None
