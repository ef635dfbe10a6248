"""Schema checker: turn JSON values into dataclasses, or name the field that does not fit.

The type hints of a dataclass are its schema. It is small and part of the package because the files it reads
are few and flat, and the classes with their hints exist already.
"""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from bottleneck.errors import BottleneckError

T = TypeVar("T")

# Levels of lists and objects in a file of ours: the deepest has 6, and whatever copies a value recursively
# can follow this many.
_DEPTH = 32

# Bytes of a file name that every file system allows.
_NAME_BYTES = 255

# Characters of a value that an error shows.
_SHOWN = 60


class SchemaError(BottleneckError, ValueError):
    """A value is not what the schema says."""


@dataclass(frozen=True)
class Check:
    """A condition on a value, for `typing.Annotated`.

    Attributes
    ----------
    takes : str
        What is expected, in words.
    fits : callable
        Whether a value is that.
    """

    takes: str
    fits: Callable[[Any], bool]


def between(least: int, most: int) -> Check:
    """Make a check for a number within limits."""
    return Check(f"a number from {least:,} to {most:,}", lambda value: least <= value <= most)


def is_file_name(text: str) -> bool:
    r"""Tell whether a text can be a file's name, or a part of one, and leads nowhere else.

    Examples
    --------
    >>> [is_file_name(text) for text in ("mixed10", "../x", "a\\b", ".hidden", "")]
    [True, False, False, False, False]
    """
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        return False
    return 0 < size <= _NAME_BYTES and not text.startswith(".") and not set(text) & set("/\\\0")


FileName = Annotated[
    str, Check("a name without /, \\ or NUL that does not begin with a dot", is_file_name)
]


def read_json(content: bytes | str) -> Any:
    """Parse JSON from somebody else.

    Raises
    ------
    SchemaError
        It is no JSON, or lists and objects are nested too deeply.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"it is not JSON: {error}") from error
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _inner(outer)]:
        depth += 1
        if depth > _DEPTH:
            raise SchemaError(f"lists and objects are nested more than {_DEPTH} levels deep")
    return value


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def build(kind: type[T], value: Any, where: str = "") -> T:
    """Build a value of a type from JSON.

    Parameters
    ----------
    kind : type
        A dataclass, ``str``, ``int``, ``float``, ``bool``, ``Any``, a literal, an optional, ``tuple[X, ...]``,
        ``dict[str, X]``, or one of these annotated with a `Check`. Numbers are finite.
    value : object
        As `read_json` gives it.
    where : str
        Name of the field, for errors.

    Raises
    ------
    SchemaError
        The value is not of the type; the message names the field.

    Examples
    --------
    >>> build(tuple[int, ...], [1, 2])
    (1, 2)
    >>> build(dict[str, float], {"loss": "high"}, "metrics")
    Traceback (most recent call last):
    bottleneck.cache.schema.SchemaError: metrics.loss: expected a finite number, found 'high'
    """
    return cast(T, _build(kind, value, where))


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if kind is Any:
        return value
    if kind in _SIMPLE:
        return _build_simple(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = _build(arguments[0], value, where)
        for check in arguments[1:]:
            if isinstance(check, Check) and not check.fits(found):
                raise _mismatch(where, check.takes, value)
        return found
    if origin is Literal:
        if not any(type(value) is type(known) and value == known for known in arguments):
            raise _mismatch(where, " or ".join(map(repr, arguments)), value)
        return value
    if origin in (Union, types.UnionType):  # an optional
        rest = next(each for each in arguments if each is not types.NoneType)
        return None if value is None else _build(rest, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        parts = enumerate(value)
        return tuple(_build(arguments[0], part, f"{where}[{number}]") for number, part in parts)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        return {
            name: _build(arguments[1], part, _join(where, name)) for name, part in value.items()
        }
    raise AssertionError(f"no rule for {kind}")


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, "an object", value)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise SchemaError(f"unknown field {_shorten(_join(where, name))}")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING:
            raise SchemaError(f"field {_join(where, name)} is missing")
    return kind(
        **{name: _build(hints[name], part, _join(where, name)) for name, part in value.items()}
    )


_SIMPLE: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: (
        "a whole number",
        lambda value: isinstance(value, int) and not isinstance(value, bool),
    ),
    float: ("a finite number", lambda value: _is_finite(value)),
}


def _build_simple(kind: Any, value: Any, where: str) -> Any:
    takes, fits = _SIMPLE[kind]
    if not fits(value):
        raise _mismatch(where, takes, value)
    return value


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _mismatch(where: str, takes: str, value: Any) -> SchemaError:
    return SchemaError(
        f"{_shorten(where) or 'the file'}: expected {takes}, found {_shorten(repr(value))}"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
