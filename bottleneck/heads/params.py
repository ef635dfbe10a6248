"""Parameters of heads: what they take, and how text becomes a value."""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import BottleneckError

# Python's spelling of what JSON spells otherwise, for those who type it.
_PYTHON = {"None": None, "none": None, "True": True, "False": False}


@dataclass(frozen=True)
class Param:
    """A parameter of a head of ours.

    Attributes
    ----------
    default : object
    takes : str
        What it takes, in words.
    fits : callable
        Whether a value is that.
    """

    default: Any
    takes: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value is not True and value is not False


def positive(default: float | None) -> Param:
    """Make a parameter that takes a number above 0, and None where that is its default."""
    none = default is None
    takes = "a number above 0" + (" or none" if none else "")
    return Param(
        default,
        takes,
        lambda value: (none and value is None) or (_is_number(value) and 0 < value < math.inf),
    )


def share(default: float) -> Param:
    """Make a parameter that takes a number from 0 to below 1."""
    takes = "a number from 0 to below 1"
    return Param(default, takes, lambda value: _is_number(value) and 0 <= value < 1)


def whole(default: int | None) -> Param:
    """Make a parameter that takes a whole number above 0, and None where that is its default."""
    none = default is None
    takes = "a whole number above 0" + (" or none" if none else "")
    return Param(
        default, takes, lambda value: (none and value is None) or (_is_whole(value) and value > 0)
    )


def widths(*default: int) -> Param:
    """Make a parameter that takes whole numbers above 0, one for each layer."""
    return Param(
        list(default),
        "a list of whole numbers above 0, such as [512] or [1024, 256]",
        lambda value: isinstance(value, list) and all(_is_whole(one) and one > 0 for one in value),
    )


def flag(default: bool) -> Param:
    """Make a parameter that takes true or false."""
    return Param(default, "true or false", lambda value: isinstance(value, bool))


CLASS_WEIGHT = Param(None, "none or balanced", lambda value: value in (None, "balanced"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_value(value: Any) -> Any:
    """Read a value typed as text: JSON where it is JSON, else the text itself.

    Examples
    --------
    >>> [read_value(text) for text in ("0.5", "[512, 256]", "None", "true", "balanced")]
    [0.5, [512, 256], None, True, 'balanced']
    """
    if not isinstance(value, str):
        return list(value) if isinstance(value, tuple) else value
    try:
        return json.loads(value)
    except ValueError:
        return _PYTHON.get(value, value)


def complete(head: str, params: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults to parameters given, after checking them.

    Raises
    ------
    BottleneckError
        The head has no such parameter, or the value is not what it takes.
    """
    complete = {name: param.default for name, param in params.items()}
    for name, value in given.items():
        refuse_unknown(head, name, params)
        complete[name] = read_value(value)
        # one layer is typed as a number
        if isinstance(params[name].default, list) and _is_whole(complete[name]):
            complete[name] = [complete[name]]
        if not params[name].fits(complete[name]):
            raise BottleneckError(
                f"parameter {name} of head {head} takes {params[name].takes}, not {value!r}"
            )
    return complete


def refuse_unknown(head: str, name: str, known: Iterable[str]) -> None:
    """Refuse a parameter that a head does not have.

    Raises
    ------
    BottleneckError
        The message names the nearest, and all there are.
    """
    there = list(known)
    if name in there:
        return
    near = difflib.get_close_matches(name, there, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise BottleneckError(
        f"head {head} has no parameter {name!r}{guess}; it has: {', '.join(there) or 'none'}"
    )
