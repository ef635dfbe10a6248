"""Names of files and classes, which may hold anything, as they can be shown."""

import unicodedata


def printable(text: str) -> str:
    r"""Replace what cannot be shown: bytes that are no text, control characters.

    Examples
    --------
    >>> printable("a\x00b\udcffc <i>")
    'a�b�c <i>'
    """
    # Cc: control, Cs: a lone surrogate, which stands for a byte of a name that is no UTF-8
    return "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text)


def shorten(name: str, most: int) -> str:
    """Cut a name that is too long for its place.

    Examples
    --------
    >>> shorten("Taraxacum officinale", 10)
    'Taraxacum…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"
