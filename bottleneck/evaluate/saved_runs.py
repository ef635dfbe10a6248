"""Saved runs as entries of a comparison."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.location import location_of, name_of
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import Entry
from bottleneck.evaluate.settings import Settings
from bottleneck.runs.run import Run
from bottleneck.runs.table import PREDICTIONS, Predictions, read_predictions

# Classes or images named in a message, which also gives their number.
_NAMED = 3


def name_runs(folders: Sequence[Path], taken: Sequence[str]) -> list[str]:
    """Name each run by its folder's name, or by its full path where names are not unique.

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


def score_run(
    name: str, folder: Path, run: Run, settings: Settings, cache: str
) -> tuple[Entry, dict[str, NDArray[np.float32]]]:
    """Read a saved run's predictions for the images that the comparison scores.

    All validation and test images must have the same split and label in the run's table: the score
    on an image that the run was fitted on would be optimistic.

    Parameters
    ----------
    name : str
        Name of the entry.
    folder : Path
        Folder of the run.
    run : Run
    settings : Settings
    cache : str
        Cache named in the advice to fit another run.

    Returns
    -------
    entry : Entry
        Without scores. With a reason if the run cannot be compared.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        By split; empty if the run cannot be compared.
    """
    split, classes = settings.split, settings.classes
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
        _check_classes(run.classes, classes, again)
        predictions = read_predictions(folder / PREDICTIONS, run.classes)
        scored = {part: rows for part, rows in split.parts.items() if part != "train"}
        seeded = run.split == split.kind and run.seed != settings.seed
        lines = _find_lines(
            predictions,
            {part: [(row.path, row.label or "") for row in rows] for part, rows in scored.items()},
            f"compare with --seed {run.seed}, which it was fitted with" if seeded else again,
            again,
        )
    except BottleneckError as error:
        return replace(entry, reason=str(error)), {}
    columns = [run.classes.index(label) for label in classes]
    return entry, {part: predictions.probabilities[i][:, columns] for part, i in lines.items()}


def _check_classes(own: Sequence[str], classes: Sequence[str], advice: str) -> None:
    there, here = (sorted(set(a) - set(b)) for a, b in ((own, classes), (classes, own)))
    if there or here:
        said = [
            f"{len(names)} only {side} ({_some(names)})"
            for side, names in (("in the run", there), ("in the comparison", here))
            if names
        ]
        raise BottleneckError(f"its classes are different: {', '.join(said)}; {advice}")


def _find_lines(
    table: Predictions,
    scored: Mapping[str, Sequence[tuple[str, str]]],
    advice_on_splits: str,
    advice: str,
) -> dict[str, NDArray[np.int64]]:
    """Find the line of each image in a table of predictions, with the same split and label.

    Raises
    ------
    BottleneckError
        If an image has no such line.
    """
    lines = list(zip(table.paths, table.splits, table.labels, strict=True))
    number_of = {line: number for number, line in enumerate(lines)}
    listed, in_split = set(table.paths), set(zip(table.paths, table.splits, strict=True))
    missing: list[str] = []
    moved: list[str] = []
    relabelled: list[str] = []
    for part, images in scored.items():
        for path, label in images:
            if path not in listed:
                missing.append(path)
            elif (path, part) not in in_split:
                moved.append(path)
            elif (path, part, label) not in number_of:
                relabelled.append(path)
    count = sum(map(len, scored.values()))
    for wrong, where, how in (
        (missing, f"not in its {PREDICTIONS}", advice),
        (moved, "in another split there", advice_on_splits),
        (relabelled, "under another label there", advice),
    ):
        if wrong:
            raise BottleneckError(
                f"{len(wrong)} of {count} images in {' and '.join(scored)} are {where} ({_some(wrong)}); {how}"
            )
    return {
        part: np.array([number_of[path, part, label] for path, label in images], np.int64)
        for part, images in scored.items()
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
