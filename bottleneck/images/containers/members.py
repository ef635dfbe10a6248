"""What members of all containers have in common: one name each, and labels of one kind."""

import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bottleneck.images.names import clean_member_name

# More images than this need at least a byte each in the file: forged headers claim any number.
_MANY = 1_000_000

# Stands for a part of a name that cannot be shown as it is: ``..`` would lead out of the archive.
_ELSEWHERE = "…"


class Named(NamedTuple):
    """Name of a member, the problem it has by its name, and whether the folders in it are those of the archive."""

    name: str
    problem: str | None = None
    placed: bool = True


def name_members(names: Sequence[str]) -> list[Named]:
    """Give each member of an archive one name, and a problem where it cannot be read.

    Names are cleaned, see `clean_member_name`. Of several members with one name the last counts, as it does when
    the archive is unpacked. The others, and those whose names lead out of the archive, get another name and a
    problem, so that each member is accounted for.

    Parameters
    ----------
    names : sequence of str
        As the archive has them, in its order.

    Returns
    -------
    list of Named
        One for each member. Each name occurs once.

    Examples
    --------
    >>> for member in name_members(["./a.png", "../b.png", "a.png"]):
    ...     print(member.name, "-", member.problem)
    a (1).png - a later member of the archive has the same name
    …/b.png - its name leads out of the archive: '../b.png'
    a.png - None
    """
    cleaned = [clean_member_name(name) for name in names]
    last = {name: number for number, (name, leads_out) in enumerate(cleaned) if not leads_out}
    taken = set(last)
    tried: Counter[str] = Counter()
    found: list[Named] = []
    for number, (name, leads_out) in enumerate(cleaned):
        if leads_out:
            shown = name.replace("..", _ELSEWHERE)
            problem = f"its name leads out of the archive: {names[number]!r}"
            found.append(Named(_take_unused(shown, taken, tried), problem, placed=False))
        elif last[name] != number:
            problem = "a later member of the archive has the same name"
            found.append(Named(_take_unused(name, taken, tried), problem))
        else:
            found.append(Named(name))
    return found


def _take_unused(name: str, taken: set[str], tried: Counter[str]) -> str:
    stem, suffix = posixpath.splitext(name)
    shown = name
    while shown in taken:
        tried[name] += 1
        shown = f"{stem} ({tried[name]}){suffix}"
    taken.add(shown)
    return shown


def too_many_images(count: int, size: int) -> bool:
    """Whether a container claims more images than a file of so many bytes can hold."""
    return count < 0 or count > max(size, _MANY)


def label_text(value: object) -> str | None:
    """Write a label as text; None where there is none.

    Raises
    ------
    ValueError
        The value is a list or a table, so it names no single class.

    Examples
    --------
    >>> [label_text(value) for value in ("cat", 3, b"dog", "", None, float("nan"))]
    ['cat', '3', 'dog', None, None, None]
    """
    if isinstance(value, float) and math.isnan(value):
        return None  # what tables that have no other word for it write
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, list | tuple | dict | set):
        kind = "table" if isinstance(value, dict) else "list"
        raise ValueError(  # noqa: TRY004 - the caller's argument is right, the file's value is not
            f"a label is a {kind}; expected text or a number for each image"
        )
    return None if value is None or value == "" else str(value)
