"""Runs that were fitted before, as entries of a comparison."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.location import location_of, name_of
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import Entry
from bottleneck.heads.split import Split
from bottleneck.runs.run import Run
from bottleneck.runs.table import PREDICTIONS, Predictions, read_predictions

# Classes or images of a difference that are named; how many there are is said as well.
_NAMED = 3


def name_runs(folders: Sequence[Path], taken: Sequence[str]) -> list[str]:
    """Name runs by their folders, and by where these lie where that does not tell them apart.

    Examples
    --------
    >>> name_runs([Path("/runs/one"), Path("/runs/two")], ["two"])
    ['one', '/runs/two']
    """
    bare = [folder.resolve().name for folder in folders]
    counts = Counter([*bare, *taken])
    return [
        name if counts[name] == 1 else location_of(folder)
        for name, folder in zip(bare, folders, strict=True)
    ]


def judge_run(
    name: str, folder: Path, run: Run, split: Split, classes: Sequence[str], seed: int, cache: str
) -> tuple[Entry, dict[str, NDArray[np.float32]]]:
    """Take what a run said of the images it is to be judged on from its table.

    Parameters
    ----------
    name : str
        Of the entry.
    folder : Path
    run : Run
        What its folder says of it.
    split : Split
        Of the comparison. All that is judged on, val and test, has to be in the same split and under
        the same label in the run's table: an image that a head was fitted on says nothing of it.
    classes : sequence of str
        Of the comparison.
    seed : int
        The comparison's.
    cache : str
        Where another run could be fitted.

    Returns
    -------
    entry : Entry
        Without scores; with the reason where the run cannot be compared.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        By split; empty where it cannot.
    """
    entry = Entry(
        name=name,
        head=run.head,
        cache=run.cache,
        recipes=tuple(recipe.id for recipe in run.recipes),
        params=run.params,
        scores={},
        costs=None,
        reason="",
        run=name_of(folder),
    )
    again = f"fit one on these images with: bottleneck fit-head {cache}"
    try:
        _refuse_other_classes(run.classes, classes, again)
        told = read_predictions(folder / PREDICTIONS, run.classes)
        judged = {part: rows for part, rows in split.parts.items() if part != "train"}
        seeded = run.split == split.kind and run.seed != seed
        places = _places(
            told,
            {part: [(row.path, row.label or "") for row in rows] for part, rows in judged.items()},
            f"compare with --seed {run.seed}, which it was fitted with" if seeded else again,
            again,
        )
    except BottleneckError as error:
        return replace(entry, reason=str(error)), {}
    columns = [run.classes.index(label) for label in classes]
    return entry, {part: told.probabilities[rows][:, columns] for part, rows in places.items()}


def _refuse_other_classes(own: Sequence[str], classes: Sequence[str], mend: str) -> None:
    there, here = (sorted(set(a) - set(b)) for a, b in ((own, classes), (classes, own)))
    if there or here:
        said = [
            f"{len(names)} only {place} ({_some(names)})"
            for place, names in (("in the run", there), ("in the comparison", here))
            if names
        ]
        raise BottleneckError(f"its classes are others: {', '.join(said)}; {mend}")


def _places(
    told: Predictions,
    judged: Mapping[str, Sequence[tuple[str, str]]],
    mend_splits: str,
    mend: str,
) -> dict[str, NDArray[np.int64]]:
    """Tell where the lines about images are, if there is one about each, with its split and label."""
    lines = list(zip(told.paths, told.splits, told.labels, strict=True))
    place_of = {line: place for place, line in enumerate(lines)}
    listed, placed = set(told.paths), set(zip(told.paths, told.splits, strict=True))
    lacking: list[str] = []
    moved: list[str] = []
    relabelled: list[str] = []
    for part, images in judged.items():
        for path, label in images:
            if path not in listed:
                lacking.append(path)
            elif (path, part) not in placed:
                moved.append(path)
            elif (path, part, label) not in place_of:
                relabelled.append(path)
    count = sum(map(len, judged.values()))
    for wrong, where, how in (
        (lacking, f"not in its {PREDICTIONS}", mend),
        (moved, "in another split there", mend_splits),
        (relabelled, "under another label there", mend),
    ):
        if wrong:
            raise BottleneckError(
                f"{len(wrong)} of {count} images in {' and '.join(judged)} are {where} ({_some(wrong)}); {how}"
            )
    return {
        part: np.array([place_of[path, part, label] for path, label in images], np.int64)
        for part, images in judged.items()
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
