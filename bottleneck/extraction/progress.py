"""How a long step tells how far it is."""

from collections.abc import Callable

# called with the name of the step, how many are done, and how many there are; 0 where nobody knows
Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Tell nobody."""
