"""Parameters of heads: valid values, and how text is parsed."""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import BottleneckError

# Python's spelling of values that JSON spells differently.
_PYTHON = {"None": None, "none": None, "True": True, "False": False}


@dataclass(frozen=True)
class Param:
    """A parameter of a head.

    Attributes
    ----------
    default : object
    takes : str
        Description of valid values.
    fits : callable
        Whether a value is valid.
    """

    default: Any
    takes: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value is not True and value is not False


def positive(default: float | None) -> Param:
    """Make a parameter that takes a number above 0, or None if that is its default."""
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
    """Make a parameter that takes a whole number above 0, or None if that is its default."""
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
    """Parse a value given as text: as JSON if it is valid JSON, otherwise as a string.

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
    """Check the given parameters and add the defaults of the others.

    Raises
    ------
    BottleneckError
        If the head has no such parameter, or a value is not valid.
    """
    complete = {name: param.default for name, param in params.items()}
    for name, value in given.items():
        check_name(head, name, params)
        complete[name] = read_value(value)
        # a single layer may be given as a number
        if isinstance(params[name].default, list) and _is_whole(complete[name]):
            complete[name] = [complete[name]]
        if not params[name].fits(complete[name]):
            raise BottleneckError(
                f"parameter {name} of head {head} takes {params[name].takes}, not {value!r}"
            )
    return complete


def check_name(head: str, name: str, known: Iterable[str]) -> None:
    """Raise an error for a parameter that a head does not have.

    Raises
    ------
    BottleneckError
        The message gives the closest name and all names.
    """
    there = list(known)
    if name in there:
        return
    near = difflib.get_close_matches(name, there, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise BottleneckError(
        f"head {head} has no parameter {name!r}{guess}; it has: {', '.join(there) or 'none'}"
    )
