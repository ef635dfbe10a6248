"""A run's folder: the head, its metrics, and all that is needed to repeat or serve it."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from bottleneck.cache import atomic, mirror
from bottleneck.cache.atomic import read_regular
from bottleneck.cache.location import name_of
from bottleneck.cache.recipe import MAX_VIEWS, Recipe, refuse_newer
from bottleneck.cache.schema import Check, FileName, SchemaError, between, build, read_json
from bottleneck.errors import BottleneckError, one_line
from bottleneck.remote import is_url
from bottleneck.runs.metrics import Metrics

FILE_NAME = "run.json"
# A fine-tuned run's network, from uint8 pixels to probabilities.
MODEL = "model.keras"

_MEND = "give another folder with --out"

FORMAT = "bottleneck-run"
VERSION = 1


# What predicts: the head on its base's features, or the fine-tuned network.
HEAD = "head"
TUNED = "fine-tuned"


@dataclass(frozen=True)
class TunedStage:
    """What a stage of fine-tuning did.

    Attributes
    ----------
    stage : str
        As on the command line, such as ``mixed9:3@0.0001``.
    trainable, frozen : int
        Parameters.
    epochs, best_epoch : int
        How many there were, and after which the weights were kept.
    before, after : Metrics
        Of the validation split.
    """

    stage: str
    trainable: int
    frozen: int
    epochs: int
    best_epoch: int
    before: Metrics
    after: Metrics


@dataclass(frozen=True)
class Tuning:
    """How a head's base was fine-tuned, and whether that was worth it.

    Attributes
    ----------
    source : str
        The folder of the run it started from.
    started_from : str
        The kind of head it started with: the run's own, or one fitted in its place.
    trained_on : str
        ``pictures``, or ``activations at`` a tap.
    stages : tuple of TunedStage
    settings : dict
        See `bottleneck.finetuning.settings.Settings`.
    head_metrics, tuned_metrics : dict of Metrics
        By split: of the run's head, and of the fine-tuned network.
    best : {"head", "fine-tuned"}
        Which of the two is right more often in the validation split, and so is used for predictions.
    stopped : str
        Why training ended before its time; empty where it did not.
    """

    source: str
    started_from: str
    trained_on: str
    stages: tuple[TunedStage, ...]
    settings: dict[str, Any]
    head_metrics: dict[str, Metrics]
    tuned_metrics: dict[str, Metrics]
    best: Annotated[str, Check(f"{HEAD!r} or {TUNED!r}", lambda best: best in (HEAD, TUNED))]
    stopped: str


_Views = Annotated[int, between(1, MAX_VIEWS)]
_Classes = Annotated[
    tuple[str, ...],
    Check("two or more different names", lambda names: len(names) == len(set(names)) > 1),
]


@dataclass(frozen=True)
class Run:
    """What is known of a fitted head.

    Attributes
    ----------
    recipes : tuple of Recipe
        Of the features it was fitted on, and takes side by side.
    weights_paths : tuple of str
        What to give to ``--weights`` to have the weights of each recipe's base again.
    train_views, predict_views : int
        On how many views of each image it was fitted, and over how many of them its probabilities are
        averaged; one is the plain picture alone.
    classes : tuple of str
        In the order of the head's outputs.
    head : str
        Name of the kind of head.
    params : dict
        Its parameters, all of them, and what was chosen while fitting.
    seed : int
    split : str
        ``given`` by the data, or made by ``digest``.
    chosen_on : str
        What parameters, and whatever else was chosen, were chosen on: ``val``, or folds of ``train`` and
        ``val``. The test split is only measured.
    trials : int
        How many choices of parameters were tried; see ``search.csv`` beside it.
    metrics : dict of Metrics
        By split; of a fine-tuned run, those of the better of its head and its network.
    cache, data_digest : str
        The cache's folder, and a SHA-256 of the images' digests, labels and splits.
    versions : dict
        Of the software that fitted it.
    command : str
        What was typed.
    created : str
        Date and time, ISO 8601, UTC.
    tuning : Tuning or None
        Where the base was fine-tuned: how, and whether it was worth it.
    """

    recipes: Annotated[tuple[Recipe, ...], Check("one recipe or more", bool)]
    weights_paths: tuple[str, ...]
    train_views: _Views
    predict_views: _Views
    classes: _Classes
    head: FileName
    params: dict[str, Any]
    seed: int
    split: str
    chosen_on: str
    trials: int
    metrics: dict[str, Metrics]
    cache: str
    data_digest: str
    versions: dict[str, str]
    command: str
    created: str
    tuning: Tuning | None = None

    @property
    def best(self) -> str:
        """What is used for predictions: ``head``, or ``fine-tuned``."""
        return self.tuning.best if self.tuning else HEAD

    @property
    def random(self) -> bool:
        """Whether it says nothing of a trained base, for a base's weights are random."""
        return any(recipe.random for recipe in self.recipes)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return dataclasses.asdict(self)


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read ``run.json``.

    Raises
    ------
    BottleneckError
        There is no run, or it is damaged or of a newer format.
    """
    file = Path(folder) / FILE_NAME
    if not file.is_file():
        raise BottleneckError(
            f"no run at {name_of(Path(folder))} (expected a folder with {FILE_NAME}); "
            "make one with: bottleneck fit-head CACHE --head NAME"
        )
    try:
        content = read_json(read_regular(file))
        refuse_newer(file, content, VERSION)
        if content.pop("format", None) != FORMAT:
            raise SchemaError(f"format: expected {FORMAT!r}")
        del content["version"]
        run = build(Run, content)
        if len(run.weights_paths) != len(run.recipes):
            raise SchemaError(
                f"weights_paths: expected {len(run.recipes)}, one for each recipe, found {len(run.weights_paths)}"
            )
    except (OSError, ValueError) as error:
        raise BottleneckError(
            f"{file} is damaged ({one_line(error)}); fit the head again with: bottleneck fit-head"
        ) from error
    return run


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json``."""
    content = {"format": FORMAT, "version": VERSION, **run.to_dict()}
    (folder / FILE_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def free_name(folder: Path, name: str) -> Path:
    """Find a name nothing has yet: ``name``, else ``name-2``, ``name-3`` and so on."""
    path, number = folder / name, 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{name}-{number}"
    return path


def run_path(place: str | os.PathLike[str]) -> Path:
    """Name the folder of a run that is being made, for a URL that of its mirror."""
    return mirror.mirror_folder(str(place)) if is_url(place) else Path(place)


def run_folder(place: str | os.PathLike[str]) -> Path:
    """Give the folder of a run that is there, for a URL after it was fetched.

    Raises
    ------
    BottleneckError
        The URL cannot be reached.
    """
    return mirror.local_folder(place)


def new_run(place: str | os.PathLike[str]) -> contextlib.AbstractContextManager[Path]:
    """Give a folder to write a run into; it takes its name, or is sent to the URL, when all of it is there.

    Raises
    ------
    BottleneckError
        The name is taken already, or the folder cannot be made.
    """
    if is_url(place):
        return mirror.new_remote_folder(str(place), "a run", _MEND, FILE_NAME)
    return atomic.new_folder(Path(place), "a run", _MEND)


def refuse_taken(place: str | os.PathLike[str]) -> None:
    """Refuse to make a run where something is.

    Raises
    ------
    BottleneckError
        So it is, or the URL cannot be written to.
    """
    if is_url(place):
        mirror.refuse_taken(str(place), "a run", _MEND)
    else:
        atomic.refuse_taken(place, "a run", _MEND)


def send_run(folder: Path, place: str | os.PathLike[str], leave: Collection[str]) -> None:
    """Send a finished run to its URL, if it has one, without the files that are not part of it."""
    if is_url(place):
        mirror.send_folder(folder, str(place), FILE_NAME, leave)
