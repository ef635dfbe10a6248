"""What people see: messages and progress on stderr, results on stdout."""

import json
import logging
from typing import Any

import rich.console
import typer

from bottleneck.errors import BottleneckError

console = rich.console.Console(stderr=True, highlight=False)

# set by --debug: show tracebacks, and messages meant for us
debug = False

# SIGINT and SIGTERM that were received
signals: list[int] = []


def say(message: str, style: str = "") -> None:
    """Print a line on stderr."""
    # soft_wrap: a path that is cut in two cannot be copied
    console.print(message, style=style, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    say(f"Warning: {message}", "yellow")


def error(message: str) -> None:
    """Print an error on stderr, in one line."""
    say(f"Error: {' '.join(message.splitlines())}", "bold red")


class ClosedOutputError(Exception):
    """The reader of stdout is gone, such as ``head`` after its last line. No OSError, for typer would catch it."""


def result(text: str, end: str = "\n") -> None:
    """Print a result on stdout.

    Raises
    ------
    ClosedOutputError
        Nobody reads it any more.
    BottleneckError
        There is no room for it.
    """
    try:
        typer.echo(text + end, nl=False)
    except BrokenPipeError as error:
        raise ClosedOutputError from error
    except OSError as error:
        raise BottleneckError(
            f"cannot write to stdout: {error.strerror}; redirect it to another disk"
        ) from error


def result_json(content: dict[str, Any]) -> None:
    """Print the one JSON object of ``--json`` on stdout."""
    result(json.dumps(content))


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
    # it warns of each model that is traced anew, which those of stages and cuts are by design
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # it shows tracebacks of faults that end in a line of ours
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def set_debug(wanted: bool) -> None:
    """Show tracebacks, and messages meant for us."""
    global debug
    if wanted:
        debug = True
        logging.getLogger("bottleneck").setLevel(logging.DEBUG)
