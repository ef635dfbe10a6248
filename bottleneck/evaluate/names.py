"""Names of files and classes, made safe to display."""

import unicodedata


def printable(text: str) -> str:
    r"""Replace characters that cannot be displayed: undecodable bytes and control characters.

    Examples
    --------
    >>> printable("a\x00b\udcffc <i>")
    'a�b�c <i>'
    """
    # Cc: control character. Cs: a lone surrogate, which stands for a byte that is not valid UTF-8
    return "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text)


def shorten(name: str, most: int) -> str:
    """Shorten a name to at most `most` characters.

    Examples
    --------
    >>> shorten("Taraxacum officinale", 10)
    'Taraxacum…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"
