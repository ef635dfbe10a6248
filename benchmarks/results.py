"""What was measured, on disk and as a table."""

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# where measurements are left, and the one that docs/performance.md shows
RESULTS = Path(__file__).with_name("results")
PUBLISHED = Path(__file__).with_name("published.json")

BASELINE = "the articles' way"
FLOOR = "products of matrices"


@dataclass(frozen=True)
class Results:
    """Seconds of everything that was timed in turn, round by round."""

    machine: dict[str, Any]
    images: int
    size: int
    seconds: dict[str, list[float]]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return dataclasses.asdict(self)

    def ratios(self, name: str, to: str) -> list[float]:
        """How many times as fast as another it was, in each round."""
        return [b / a for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]


def read_results(file: Path) -> Results:
    """Read what `python -m benchmarks.extraction` wrote."""
    return Results(**json.loads(file.read_text()))


def table(results: Results) -> str:
    """Make the table of docs/performance.md."""
    lines = [
        f"{results.machine['processor']}, {results.machine['cores']} cores; InceptionV3 at {results.size}, "
        f"{results.images} JPEG files, {len(results.seconds[BASELINE])} rounds; median (least to most). "
        f"Processes that ran or waited to when it began: {results.machine['load']}.",
        "",
        f"| | images a second | times {BASELINE} | of the floor |",
        "| --- | --- | --- | --- |",
    ]
    for name in sorted(results.seconds, key=lambda name: statistics.median(results.seconds[name])):
        rate = results.images / statistics.median(results.seconds[name])
        lines.append(
            f"| {name} | {rate:.1f} | {_spread(results.ratios(name, BASELINE))} "
            f"| {_spread(results.ratios(name, FLOOR))} |"
        )
    return "\n".join(lines)


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
