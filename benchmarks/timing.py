"""Timing things alternately, so that a busy machine is busy for all of them."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def alternate(jobs: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, list[float]]:
    """Run every job in turn, so many times over, and give their seconds.

    The first round is not counted: it pays for what is loaded and traced once.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def show(title: str, seconds: Mapping[str, list[float]], of: str, items: int) -> None:
    """Print each job's rate, and its time as a multiple of the time of the job named `of`."""
    print(f"\n{title}")
    for name, all_of_them in seconds.items():
        ratios = [a / b for a, b in zip(all_of_them, seconds[of], strict=True)]
        median = statistics.median(all_of_them)
        print(
            f"  {name:<44} {median:8.3f} s  {items / median:12,.1f}/s"
            f"  × {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
