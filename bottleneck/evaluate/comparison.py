"""Results of a comparison of heads."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.cache.atomic import write_output
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
    """Scores of one head on one split.

    Attributes
    ----------
    figures : dict of str to Estimate
        Metrics, by the names in `bottleneck.runs.metrics.METRICS`.
    against_best : Discordance or None
        Test of this entry against the best, which is the first of the pair; None for the best itself.
    corrected_p : float or None
        The p-value of that test, corrected for the number of entries.
    """

    figures: Mapping[str, Estimate]
    against_best: Discordance | None
    corrected_p: float | None


@dataclass(frozen=True)
class Costs:
    """Costs of a head. These differ from run to run.

    Attributes
    ----------
    fit_seconds : float
    predict_microseconds : float
        Time to predict one image, without reading its features.
    bytes : int
        Size of the head's files.
    """

    fit_seconds: float
    predict_microseconds: float
    bytes: int


@dataclass(frozen=True)
class Entry:
    """One head on one feature set, or one saved run.

    Attributes
    ----------
    name : str
        Name of the head, and of the feature set if there are several; for a run, of its folder.
    head, cache : str
    recipes : tuple of str
        Ids. The features of several are concatenated.
    params : dict
        Parameters of the head, and under ``chosen`` the values chosen during fitting.
    scores : dict of str to Scores
        By split: ``val``, and ``test`` if there is one. Empty if the head failed.
    costs : Costs or None
        None if they are unknown.
    reason : str
        Why the head failed; empty if it did not.
    run : str
        Folder of the saved run; empty for a head that was fitted now.
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
    """Validation accuracy of an entry fitted on a number of training images."""

    entry: str
    images: int
    accuracy: Estimate


@dataclass(frozen=True)
class Comparison:
    """Heads compared on the same images.

    Attributes
    ----------
    entries : tuple of Entry
        The best first; entries that failed come last.
    images : dict of str to int
        Number of images of each split.
    left_out : dict of str to int
        By cache, the number of labelled images that not all caches have.
    classes : tuple of str
    top_k : int
        The k of top-k accuracy.
    split : str
        ``given`` by the data, or created from a ``digest`` of each image.
    seed : int
    findings : Findings
        Results of the data checks.
    curve : tuple of CurvePoint
        The learning curves, if requested.
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
        """The split that scores are reported on: the test split if there is one, otherwise ``val``."""
        return "test" if "test" in self.images else "val"

    @property
    def words(self) -> tuple[str, ...]:
        """Summary in sentences."""
        return tuple(_summarise(self))

    def to_dict(self) -> dict[str, Any]:
        """Convert to a JSON object. All but ``costs`` is reproducible."""
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
        """Make one flat record for each entry and split; the costs are its last columns."""
        return [dict(record) for entry in self.entries for record in _records(entry)]

    def to_frame(self) -> Any:
        """Convert `to_records` to a pandas DataFrame.

        Raises
        ------
        BottleneckError
            If pandas is not installed.
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
            If the file cannot be written.
        """
        records = self.to_records()
        names = list(dict.fromkeys(name for record in records for name in record))
        lines = io.StringIO()
        writer = csv.DictWriter(lines, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        try:
            write_output(Path(file), lines.getvalue().encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise BottleneckError(
                f"cannot write {file}: {error.strerror}; give another file with --out"
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


def _summarise(found: Comparison) -> Iterator[str]:
    split, best = found.judged_on, found.best
    accuracy = best.scores[split].figures["accuracy"]
    yield (
        f"Best on {found.images['val']:,} validation images: {best.name}. "
        f"On {found.images[split]:,} {SPLIT_NAMES[split]} images its accuracy is {percent(accuracy.value)} "
        f"(95 % confidence interval: {percent(accuracy.low)} to {percent(accuracy.high)})."
    )
    if accuracy.value == 1:
        # no resample holds an error either. The bound is Hanley and Lippman-Hand 1983, If Nothing
        # Goes Wrong, Is Everything All Right?
        bound = min(1.0, 3 / found.images[split])
        yield (
            "It makes no errors there; the upper 95 % confidence bound of its error rate is "
            f"{percent(bound)}."
        )
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
    test = f"{SPLIT_NAMES[split]} images, McNemar, Holm-corrected, α = {LEVEL:g}"
    if same:
        yield f"No significant difference between {best.name} and {', '.join(same)} ({test})."
    if worse:
        yield f"{best.name} is significantly better than {', '.join(worse)} ({test})."
    if better:
        yield (
            f"Significantly better than {best.name}, though not chosen by validation accuracy: "
            f"{', '.join(better)} ({test})."
        )
    if split == "val":
        yield (
            "There is no test split: the best entry was chosen on the images it is scored on, "
            "so its scores are slightly optimistic."
        )


def percent(share: float) -> str:
    """Format a share as a percentage.

    Examples
    --------
    >>> percent(0.8404)
    '84.0 %'
    """
    return f"{100 * share:.1f} %"
