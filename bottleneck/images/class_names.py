"""Class names: spellings that mean the same class, and values that mean no class."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

# What people and their tools write where a label is missing.
_MISSING = frozenset(["", "na", "n/a", "nan", "<na>", "null"])


def is_missing(label: str) -> bool:
    """Tell whether a cell of a column of labels says that there is none.

    Examples
    --------
    >>> [is_missing(label) for label in ("", " NaN ", "NA", "null", "none", "cat")]
    [True, True, True, True, False, False]
    """
    return label.strip().casefold() in _MISSING


def merge_spellings(counts: Mapping[str, int]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find class names that differ only in case, spaces, Unicode form or form of number.

    Parameters
    ----------
    counts : mapping of str to int
        How many images have each label.

    Returns
    -------
    names : dict
        The name to use for each label. Of several spellings it is the most frequent one.
    notes : tuple of str
        One line for each class with several spellings.

    Examples
    --------
    >>> merge_spellings({"Cat": 1, "cat": 5, "dog": 3})[0]
    {'Cat': 'cat', 'cat': 'cat', 'dog': 'dog'}
    >>> merge_spellings({"1": 4, "1.0": 9})[0]
    {'1': '1', '1.0': '1'}
    """
    spellings = defaultdict(list)
    numbers = bool(counts) and all(_number(name) is not None for name in counts)
    for name in counts:
        spellings[str(_number(name)) if numbers else _key(name)].append(name)
    names: dict[str, str] = {}
    notes: list[str] = []
    for same in spellings.values():
        # of numbers the shortest form: 1 rather than 1.0
        chosen = min(same, key=lambda name: (len(name) if numbers else -counts[name], name))
        names |= dict.fromkeys(same, chosen)
        if len(same) > 1:
            shown = ", ".join(map(repr, sorted(same)))
            notes.append(f"Labels {shown} differ only in spelling: read as one class, {chosen!r}")
    return {name: names[name] for name in counts}, tuple(notes)


def find_combinations(labels: Collection[str]) -> list[str]:
    """Find labels that look like several labels of one image.

    Parts of a label have to occur in others as well: in ``daisy|red`` beside ``daisy|white``, not in ``R&B;soul``.
    Words parted by spaces or underscores also make up ordinary names, so there must be fewer words than labels.

    Examples
    --------
    >>> find_combinations(["cats;pet", "dogs;pet", "cats"])
    ['cats;pet', 'dogs;pet']
    >>> find_combinations(["great dane", "great pyrenees", "pug"])
    []
    """
    for separator in ("|", ";", ","):
        several = [label for label in labels if separator in label]
        parts = Counter(part.strip() for label in labels for part in set(label.split(separator)))
        if any(parts[part.strip()] > 1 for label in several for part in label.split(separator)):
            return sorted(several)
    several = [label for label in labels if " " in label]
    words = {word for label in labels for word in label.split()}
    return sorted(several) if len(words) < len(labels) else []


def _key(name: str) -> str:
    key = " ".join(unicodedata.normalize("NFC", name).split())
    # a and A are two classes in sets of handwritten characters
    return key.casefold() if len(key) > 1 else key or name


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
