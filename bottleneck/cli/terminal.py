"""What people see: messages and progress on stderr, results on stdout."""

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import rich.console
import rich.markup
import rich.progress
import typer

from bottleneck.extraction.progress import Progress

_console = rich.console.Console(stderr=True, highlight=False)

# set by --debug: show tracebacks, and messages meant for us
debug = False

# SIGINT and SIGTERM that were received
signals: list[int] = []


def say(message: str, style: str = "") -> None:
    """Print a line on stderr."""
    # soft_wrap: a path that is cut in two cannot be copied
    _console.print(message, style=style, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    say(f"Warning: {message}", "yellow")


def error(message: str) -> None:
    """Print an error on stderr, in one line."""
    say(f"Error: {' '.join(message.splitlines())}", "bold red")


def result(text: str) -> None:
    """Print a result on stdout."""
    typer.echo(text)


def result_json(content: dict[str, Any]) -> None:
    """Print the one JSON object of ``--json`` on stdout."""
    typer.echo(json.dumps(content))


class _Messages(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            warn(record.getMessage())
        else:
            say(record.getMessage())


def show_messages() -> None:
    """Show the library's messages."""
    logger = logging.getLogger("bottleneck")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Messages())


def set_debug(wanted: bool) -> None:
    """Show tracebacks, and messages meant for us."""
    global debug
    if wanted:
        debug = True
        logging.getLogger("bottleneck").setLevel(logging.DEBUG)


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
        *columns, console=_console, disable=not _console.is_terminal
    ) as bars:
        steps: dict[str, rich.progress.TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if signals:
                # it came where an exception is printed and forgotten, in a callback of C code or a __del__
                raise KeyboardInterrupt
            if step not in steps:
                steps[step] = bars.add_task(rich.markup.escape(step))
            # a total of 0: nobody knows how long it takes
            bars.update(steps[step], completed=done, total=total or None)

        yield show
