"""What a comparison of heads found."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.errors import BottleneckError
from bottleneck.evaluate.checks import Findings
from bottleneck.evaluate.intervals import Estimate
from bottleneck.evaluate.pairs import Discordance
from bottleneck.runs.metrics import METRICS

# Significance level: a difference with a larger corrected p may be due to chance.
LEVEL = 0.05

# Splits in running text.
SPLIT_NAMES = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Scores:
    """What was measured of one head on one split.

    Attributes
    ----------
    figures : dict of str to Estimate
        By the names in `bottleneck.runs.metrics.METRICS`.
    against_best : Discordance or None
        By image, first the best entry and then this one; None for the best itself.
    corrected_p : float or None
        The probability of it, corrected for the number of entries.
    """

    figures: Mapping[str, Estimate]
    against_best: Discordance | None
    corrected_p: float | None


@dataclass(frozen=True)
class Costs:
    """What a head took. These differ from one time to the next.

    Attributes
    ----------
    fit_seconds : float
    predict_microseconds : float
        For each image, reading its features not included.
    bytes : int
        Of the head's files.
    """

    fit_seconds: float
    predict_microseconds: float
    bytes: int


@dataclass(frozen=True)
class Entry:
    """One head on the features of one cache, fitted now or before.

    Attributes
    ----------
    name : str
        The head, and where there are several the features; of a run its folder.
    head, cache : str
    recipes : tuple of str
        Ids; features of several are side by side.
    params : dict
        The head's parameters, and under ``chosen`` what was chosen while fitting.
    scores : dict of str to Scores
        ``val``, and ``test`` where there is one. Empty where the head failed.
    costs : Costs or None
        None where nobody knows.
    reason : str
        Why it failed; empty where it did not.
    run : str
        The folder of the run, where the head was fitted before; empty where it was fitted now.
    """

    name: str
    head: str
    cache: str
    recipes: tuple[str, ...]
    params: Mapping[str, Any]
    scores: Mapping[str, Scores]
    costs: Costs | None
    reason: str
    run: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy on the validation split of an entry fitted on a part of the training split."""

    entry: str
    images: int
    accuracy: Estimate


@dataclass(frozen=True)
class Comparison:
    """Heads on the same images.

    Attributes
    ----------
    entries : tuple of Entry
        From the best on; those that failed last.
    images : dict of str to int
        How many images each split has.
    left_out : dict of str to int
        By cache, labelled images that not all of the caches have.
    classes : tuple of str
    top_k : int
        The k of top-k accuracy.
    split : str
        ``given`` by the data, or made by ``digest``.
    seed : int
    findings : Findings
        What to mistrust in the data.
    curve : tuple of CurvePoint
        The learning curves, where they were asked for.
    """

    entries: tuple[Entry, ...]
    images: Mapping[str, int]
    left_out: Mapping[str, int]
    classes: tuple[str, ...]
    top_k: int
    split: str
    seed: int
    findings: Findings
    curve: tuple[CurvePoint, ...] = ()

    @property
    def best(self) -> Entry:
        """The entry with the highest accuracy on the validation split."""
        return self.entries[0]

    @property
    def judged_on(self) -> str:
        """The split to believe: the test split, which chose nothing, where there is one."""
        return "test" if "test" in self.images else "val"

    @property
    def words(self) -> tuple[str, ...]:
        """What follows from the figures, in plain words."""
        return tuple(_words(self))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it. All but ``costs`` is the same each time."""
        table = [dataclasses.asdict(entry) for entry in self.entries]
        costs = {entry["name"]: entry.pop("costs") for entry in table}
        return {
            "best": self.best.name,
            "chosen_on": "val",
            "test_used_to_choose": False,
            "words": list(self.words),
            "images": dict(self.images),
            "left_out": dict(self.left_out),
            "classes": list(self.classes),
            "top_k": self.top_k,
            "split": self.split,
            "seed": self.seed,
            "table": table,
            "learning_curve": [dataclasses.asdict(point) for point in self.curve],
            "findings": self.findings.to_dict(),
            "costs": costs,
        }

    def to_records(self) -> list[dict[str, Any]]:
        """A flat record for each entry and split; what it took comes last."""
        return [dict(record) for entry in self.entries for record in _records(entry)]

    def to_frame(self) -> Any:
        """Give `to_records` as a pandas DataFrame.

        Raises
        ------
        BottleneckError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise BottleneckError(
                "a DataFrame needs pandas, which is not installed; pip install pandas, or use to_records()"
            ) from error
        return pd.DataFrame(self.to_records())

    def write_csv(self, file: str | os.PathLike[str]) -> None:
        """Write `to_records` as a CSV file.

        Raises
        ------
        BottleneckError
            It cannot be written.
        """
        records = self.to_records()
        names = list(dict.fromkeys(name for record in records for name in record))
        lines = io.StringIO()
        writer = csv.DictWriter(lines, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        try:
            Path(file).write_text(lines.getvalue(), encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise BottleneckError(
                f"cannot write {file}: {error.strerror}; give another place with --out"
            ) from error


def _records(entry: Entry) -> Iterator[dict[str, Any]]:
    known = {"entry": entry.name, "head": entry.head, "cache": entry.cache, "run": entry.run}
    known["recipes"] = " ".join(entry.recipes)
    if not entry.scores:
        yield known | {"reason": entry.reason}
    for split, scores in entry.scores.items():
        record: dict[str, Any] = known | {"reason": entry.reason, "split": split}
        for name in METRICS:
            found = scores.figures[name]
            record |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        pair = scores.against_best
        record["only_best_right"] = pair.only_first if pair else None
        record["only_this_right"] = pair.only_second if pair else None
        record["p"], record["corrected_p"] = pair.p if pair else None, scores.corrected_p
        for cost in dataclasses.fields(Costs):
            record[cost.name] = entry.costs and getattr(entry.costs, cost.name)
        yield record


def _words(found: Comparison) -> Iterator[str]:
    split, best = found.judged_on, found.best
    accuracy = best.scores[split].figures["accuracy"]
    yield (
        f"Chosen on {found.images['val']:,} images in val: {best.name}. "
        f"On {found.images[split]:,} in {split} it is right about {accuracy.value:.1%} "
        f"({accuracy.low:.1%} to {accuracy.high:.1%})."
    )
    if accuracy.value == 1:
        # no resample holds an error either. The bound is Hanley and Lippman-Hand 1983, If Nothing
        # Goes Wrong, Is Everything All Right?
        share = min(1.0, 3 / found.images[split])
        yield f"It makes no mistake there; in the long run it may still make {share:.1%}."
    same, worse, better = [], [], []
    for entry in found.entries[1:]:
        if not entry.scores:
            done = "compared" if entry.run else "fitted"
            yield f"{entry.name} could not be {done}: {entry.reason}"
            continue
        scores = entry.scores[split]
        pair = scores.against_best
        if pair is None or scores.corrected_p is None or scores.corrected_p >= LEVEL:
            same.append(entry.name)
        elif pair.only_first > pair.only_second:
            worse.append(entry.name)
        else:
            better.append(entry.name)
    test = f"McNemar's test in {split}, corrected after Holm, at {LEVEL:.0%}"
    if same:
        yield f"No difference is shown between {best.name} and: {', '.join(same)} ({test})."
    if worse:
        yield f"{best.name} is better than: {', '.join(worse)} ({test})."
    if better:
        yield f"Better in {split}, though not chosen in val: {', '.join(better)} ({test})."
    if split == "val":
        yield (
            "There is no test split: the best was chosen on the images it is measured on, "
            "and its figures are a little too good."
        )
