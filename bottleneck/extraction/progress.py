"""Progress callbacks of long steps."""

from collections.abc import Callable

# called with the name of the step, how many are done, and how many there are; 0 if that is unknown
Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Report nothing."""
