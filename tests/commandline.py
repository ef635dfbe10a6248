"""The command line as a user meets it: a process, its output, its exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: object) -> list[str]:
    """Give the command line as a list for a subprocess."""
    return [str(Path(sys.executable).with_name("bottleneck")), *map(str, arguments)]


def last_json(process: subprocess.CompletedProcess[str]) -> Any:
    """Read the one JSON object a command printed."""
    return json.loads(process.stdout)


def one_line(process: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Check that a command failed with one clear line, and return it."""
    assert process.returncode == code, process.stderr
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, process.stderr
    assert process.stderr.splitlines()[-1] == errors[0]
    return errors[0]
