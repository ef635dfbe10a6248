"""Reasons why an image or a file cannot be read, as text that is safe to print."""

from bottleneck.errors import one_line

# A reason is one line of a listing. Some libraries quote a whole header of a damaged file.
_LONGEST = 300


def describe(error: object) -> str:
    r"""Describe an error in one printable line.

    Messages of libraries may quote bytes of the file. Those must not reach a terminal as they are.

    Examples
    --------
    >>> describe(ValueError("bad header\n\x1b[2J"))
    'bad header ?[2J'
    >>> describe(MemoryError())
    'MemoryError'
    """
    text = one_line(error) if isinstance(error, BaseException) else " ".join(str(error).split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
