"""Progress, on stderr."""

import contextlib
from collections.abc import Iterator

import rich.markup
import rich.progress

from bottleneck.cli import terminal
from bottleneck.extraction.progress import Progress


class _Rate(rich.progress.ProgressColumn):
    def render(self, task: rich.progress.Task) -> str:
        speed = task.finished_speed or task.speed
        return f"{speed:.1f}/s" if speed else ""


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show steps as bars with their rate and the time left, where somebody is watching."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with rich.progress.Progress(
        *columns, console=terminal.console, disable=not terminal.console.is_terminal
    ) as bars:
        steps: dict[str, rich.progress.TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if terminal.signals:
                # it came where an exception is printed and forgotten, in a callback of C code or a __del__
                raise KeyboardInterrupt
            if step not in steps:
                steps[step] = bars.add_task(rich.markup.escape(step))
            # a total of 0: nobody knows how long it takes
            bars.update(steps[step], completed=done, total=total or None)

        yield show
