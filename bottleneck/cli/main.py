"""The `bottleneck` command: its subcommands, and what becomes of errors."""

import os
import re
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from bottleneck.cli import terminal
from bottleneck.errors import BottleneckError, one_line

# Each is the function of that name in the module of that name, or the commands in its `app`. What the
# list of them says of each stands here as well, so that to show it need not load them all: NumPy, h5py
# and scikit-learn take a second.
COMMANDS = {
    "extract": "Run a frozen base over an image set and keep its features, computing only what is missing.",
    "fit-head": "Fit a head on cached features and write a run.",
    "advise": "Say what to try next: which tap, a head alone or fine-tuning, and on what evidence.",
    "compare": "Fit heads on cached features and compare them on the same images.",
    "finetune": "Train the head of a run and the upper layers of its base.",
    "predict": "Predict the classes of images with a run.",
    "export": "Write a run as one graph that does not need this package, and check its predictions.",
    "bases": "List, inspect and convert pretrained networks.",
    "cache": "Inspect, verify, repair and prune a cache.",
    "demo": "Extract features of 1,797 handwritten digits twice, and fit two heads.",
}


def build(asked: str | None) -> typer.Typer:
    """Put the command line together.

    Parameters
    ----------
    asked : str or None
        The command that is to run; of the others only the name and a line of help are there.
    """
    app = typer.Typer(
        name="bottleneck",
        help="Transfer learning on images: run a frozen base once, keep its features, fit heads in seconds.",
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, line in COMMANDS.items():
        if name != asked:
            app.command(name, help=line)(_not_loaded)
            continue
        own = name.replace("-", "_")
        module = import_module(f"bottleneck.cli.{own}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=line)
        else:
            app.command(name, help=line)(getattr(module, own))
    return app


def _not_loaded() -> None:
    raise AssertionError("a command was run that is not the one asked for")


# what typer makes of Ctrl-C, and of a SIGTERM, which we make a Ctrl-C of
_INTERRUPTED = 128 + signal.SIGINT

# what an installer leaves beside another package that imports by our name
_NAMESAKE = re.compile(r"bottleneck-(?P<version>[^-]+)(-.*)?\.(dist|egg)-info", re.IGNORECASE)


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        # not bottleneck.__version__, which is that of the namesake where it hides us
        typer.echo(f"bottleneck {importlib.metadata.version('bottleneck-features')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; never returns.

    Exits with 0 when the work is done, 1 when it could not be done, 2 for wrong usage, 130 after
    Ctrl-C and 143 after SIGTERM.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    terminal.show_messages()
    _tell_of_namesake()
    # options that go before it take no values
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        code = build(asked)(standalone_mode=False)
    except typer.TyperException as error:
        terminal.error(f"{error.format_message()} (see: bottleneck --help)")
        code = error.exit_code
    except BottleneckError as error:
        terminal.error(str(error))
        code = 1
    except (typer.Abort, KeyboardInterrupt) as error:
        # typer makes an Abort of an EOFError too, which is a damaged file and no interruption
        cause = error.__cause__
        code = _report_unexpected(cause) if isinstance(cause, EOFError) else _INTERRUPTED
    except terminal.ClosedOutputError:
        code = 0
    except Exception as error:
        code = _report_unexpected(error)
    if code != _INTERRUPTED and not _flush_output():
        code = code or 1
    if code == _INTERRUPTED:
        terminal.say("Interrupted.")
        code = 128 + (terminal.signals or [signal.SIGINT])[-1]
    sys.exit(code if isinstance(code, int) else 0)


def _report_unexpected(error: BaseException) -> int:
    """Report an exception nobody expected, and return the exit code."""
    if terminal.signals:
        # the interruption, as C code that was calling back into Python passed it on
        return _INTERRUPTED
    if terminal.debug:
        traceback.print_exception(error)
    else:
        said = one_line(error)
        terminal.error(
            f"unexpected {type(error).__name__}: {said} (this is a bug in bottleneck; --debug shows where)"
        )
    return 1


def _flush_output() -> bool:
    """Write what stdout still buffers; return whether there was room for it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return True
        terminal.error(f"cannot write to stdout: {error.strerror}; redirect it to another disk")
        return False
    return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    terminal.signals.append(number)
    raise KeyboardInterrupt


def _tell_of_namesake() -> None:
    # importlib.metadata knows too, and to load it takes a tenth of the time of `--help`
    beside = (file.name for place in sys.path for file in Path(place).glob("[Bb]ottleneck-*-info"))
    found = next(filter(None, map(_NAMESAKE.fullmatch, beside)), None)
    if found is None:
        return
    terminal.warn(
        f"The NumPy accelerator Bottleneck {found['version']} is installed in this environment too. Both import as "
        "`bottleneck`, and one hides the other: keep them in separate environments. To mend this one: pip uninstall "
        "bottleneck, then install bottleneck-features again."
    )
