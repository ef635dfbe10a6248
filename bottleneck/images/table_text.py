"""Text of a table: its encoding, its delimiter and its rows."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from bottleneck.errors import BottleneckError

_DELIMITERS = (",", ";", "\t", "|")

# Text in UTF-16 without a mark: every second byte of Latin letters is zero. A lone NUL is a fault of its row.
_SAMPLE = 512
_ZEROS_OF_UTF16 = 0.25


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes
    ----------
    header : list of str
        Names of the columns, without spaces around them.
    rows : list of (int, list of str)
        The number of the line a row ends in, and its cells; rows of empty cells are left out.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]


def parse_table(file: Path | str, content: bytes) -> Table:
    """Read a table with commas, semicolons, tabs or bars, in UTF-8, UTF-16 or Windows-1252.

    Bytes that are not UTF-8 stay in the cells as surrogates, for `recover` to read: a path may be made of any bytes.

    Raises
    ------
    BottleneckError
        It is compressed, or not a table.
    """
    text = _decode(file, content)
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        delimiter, text = first.strip()[-1], rest  # as spreadsheets write it
    else:
        # the one that makes most columns; commas where nothing parts the header
        delimiter = max(_DELIMITERS, key=lambda each: _count_columns(first, each))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = next((row for row in reader if row), [])
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise BottleneckError(f"{file} is not a readable CSV file: {error}") from error
    return Table([recover(name).strip() for name in header], rows)


def recover(text: str) -> str:
    r"""Read bytes that are not UTF-8 as Windows-1252.

    Examples
    --------
    >>> recover(b"K\xe4se".decode("utf-8", "surrogateescape"))
    'Käse'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
        try:
            return raw.decode("cp1252")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    return text


def _decode(file: Path | str, content: bytes) -> str:
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise BottleneckError(
            f"{file} is compressed; expected a table as plain text: unpack it first"
        )
    encoding = "utf-8-sig"  # spreadsheets begin their files with a byte order mark
    sample = content[:_SAMPLE]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif sample.count(0) > _ZEROS_OF_UTF16 * len(sample):
        encoding = "utf-16-be" if sample[0] == 0 else "utf-16-le"
    try:
        errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise BottleneckError(
            f"{file} is not a readable CSV file: it looks like {encoding.upper()}, but {error.reason}"
        ) from error


def _count_columns(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line.strip("\r")], delimiter=delimiter), []))
    except csv.Error:
        return 0
