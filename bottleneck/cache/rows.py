"""The rows of a listing, kept as columns: a row is made when it is looked at."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.digests import Digests

OK = "ok"
FAILED = "failed"
UNREAD = "unread"  # while an extraction runs; no listing that is written has it

# Rows made at once by who goes through all of them.
_BLOCK = 1 << 12


class Row(NamedTuple):
    """One image.

    Attributes
    ----------
    path : str
        Relative to the listing's root, or absolute where it lies outside.
    digest : str
        SHA-256 of the file's bytes in hexadecimal; empty where they could not be read, or were not yet.
    label, split : str or None
    status : {"ok", "failed", "unread"}
    reason : str
        Why it failed; empty where it did not.
    size : int
        Of the file, in bytes; -1 where it could not be told.
    mtime_ns : int
        When it was last modified, in nanoseconds; -1 where that cannot be relied on.
    """

    path: str
    digest: str = ""
    label: str | None = None
    split: str | None = None
    status: str = OK
    reason: str = ""
    size: int = -1
    mtime_ns: int = -1


# Columns of few different values, kept as numbers that say which of them each row has.
CODED = ("label", "split", "status", "reason")
NUMBERS = ("size", "mtime_ns")


@dataclass(frozen=True)
class Coded:
    """A column of few different texts.

    Attributes
    ----------
    codes : ndarray of unsigned int, shape (n,)
        Which of the values each row has.
    values : tuple of str
        Empty for none.
    """

    codes: NDArray[Any]
    values: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> "Coded":
        """Number the different texts in the order they come."""
        known: dict[str, int] = {}
        codes = [known.setdefault(text or "", len(known)) for text in texts]
        return cls(np.array(codes, np.min_scalar_type(max(len(known) - 1, 0))), tuple(known))

    @classmethod
    def join(cls, parts: "Sequence[Coded]") -> "Coded":
        """Put several one after the other."""
        known: dict[str, int] = {}
        codes = []
        for part in parts:
            again = [known.setdefault(text, len(known)) for text in part.values]
            codes.append(np.array(again, np.uint32)[part.codes])
        least = np.min_scalar_type(max(len(known) - 1, 0))
        return cls(np.concatenate(codes).astype(least), tuple(known))

    def equal_to(self, text: str) -> NDArray[np.bool_]:
        """Tell which rows have a text."""
        if text not in self.values:
            return np.zeros(len(self.codes), bool)
        found: NDArray[np.bool_] = self.codes == self.values.index(text)
        return found


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """The rows of a listing: some 70 bytes each and the path.

    Attributes
    ----------
    text : ndarray of uint8
        All paths one after the other, with a zero byte between, which no path may hold.
    starts, ends : ndarray of int64, shape (n,)
        Where in it each path lies.
    digests : Digests
    coded : mapping of str to Coded
        Label, split, status and reason.
    numbers : mapping of str to ndarray of int64, shape (n,)
        Size and time of modification.

    Examples
    --------
    >>> rows = Rows.of([Row("a.jpg", "1f" * 32, "cat"), Row("b.jpg", status="failed", reason="empty")])
    >>> rows[0].label, rows[1].reason, len(rows.where("status", "ok"))
    ('cat', 'empty', 1)
    """

    text: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    digests: Digests
    coded: Mapping[str, Coded]
    numbers: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Rows":
        """Bring rows to columns, if they are not in columns yet."""
        if isinstance(rows, Rows):
            return rows
        # a block at a time, for a row takes ten times as much as its part of the columns
        source = iter(rows)
        blocks = iter(lambda: tuple(itertools.islice(source, _BLOCK)), ())
        return cls.join(map(cls._of_block, blocks))

    @classmethod
    def join(cls, parts: Iterable["Rows"]) -> "Rows":
        """Put several one after the other."""
        joined = list(parts) or [cls._of_block(())]
        if len(joined) == 1:
            return joined[0]
        between = np.zeros(1, np.uint8)
        texts = [piece for part in joined if len(part) for piece in (between, part.paths)]
        text = np.concatenate(texts[1:]) if texts else between[:0]
        return cls(
            text,
            *find_paths(text, sum(map(len, joined))),
            Digests.join(part.digests for part in joined),
            {name: Coded.join([part.coded[name] for part in joined]) for name in CODED},
            {name: np.concatenate([part.numbers[name] for part in joined]) for name in NUMBERS},
        )

    @classmethod
    def _of_block(cls, rows: Sequence[Row]) -> "Rows":
        columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=False))
        paths = columns.get("path", ())
        # Bytes, not str: a file name on a POSIX system need not be valid UTF-8
        text = np.frombuffer(os.fsencode("\0".join(paths)), np.uint8)
        return cls(
            text,
            *find_paths(text, len(paths)),
            Digests.of(columns.get("digest", ())),
            {name: Coded.of(columns.get(name, ())) for name in CODED},
            {name: np.array(columns.get(name, ()), np.int64) for name in NUMBERS},
        )

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Row | Rows":
        """Give a row, or a part of the rows."""
        if isinstance(place, slice):
            return self.take(place)
        where = range(len(self))[place]  # IndexError as of any sequence
        return next(iter(self.take(slice(where, where + 1))))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _BLOCK):
            part = self.take(slice(start, start + _BLOCK))
            values = zip(*(part.column(name) for name in Row._fields), strict=True)
            # Row._make does this too, and takes three times as long
            yield from map(tuple.__new__, itertools.repeat(Row), values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return self is other or (
            len(self) == len(other)
            and self.digests == other.digests
            and np.array_equal(self.paths, other.paths)
            and all(np.array_equal(self.numbers[name], other.numbers[name]) for name in NUMBERS)
            and all(self.column(name) == other.column(name) for name in CODED)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def paths(self) -> NDArray[np.uint8]:
        """All paths as `text` keeps them, and none but those of these rows."""
        if not len(self):
            return self.text[:0]
        if np.array_equal(self.starts[1:], self.ends[:-1] + 1):
            return self.text[self.starts[0] : self.ends[-1]]
        text = self.text.tobytes()
        spans = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return np.frombuffer(b"\0".join(text[start:end] for start, end in spans), np.uint8)

    def column(self, name: str) -> list[Any]:
        """Give all values of one field of `Row`, as Python's own."""
        if name == "path":
            return os.fsdecode(self.paths.tobytes()).split("\0") if len(self) else []
        if name == "digest":
            return self.digests.texts()
        if name in NUMBERS:
            numbers: list[int] = self.numbers[name].tolist()
            return numbers
        none = None if name in ("label", "split") else ""
        coded = self.coded[name]
        # one more, for NumPy would make texts of its own of nothing but texts
        values = np.array([*(value or none for value in coded.values), None], object)
        found: list[Any] = values[coded.codes].tolist()
        return found

    def take(self, places: "NDArray[np.int64] | slice") -> "Rows":
        """Take some of the rows, in the order given."""
        return Rows(
            self.text,
            self.starts[places],
            self.ends[places],
            self.digests[places],
            {name: Coded(each.codes[places], each.values) for name, each in self.coded.items()},
            {name: each[places] for name, each in self.numbers.items()},
        )

    def replace(self, places: NDArray[np.int64], rows: Iterable[Row]) -> "Rows":
        """Put other rows in some places."""
        if not len(places):
            return self
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        return Rows.join([self, Rows.of(rows)]).take(order)

    def where(self, name: str, text: str) -> "Rows":
        """Take the rows that have a text in a column of few different ones."""
        return self.only(self.coded[name].equal_to(text))

    def only(self, having: NDArray[np.bool_]) -> "Rows":
        """Take the rows for which something is true."""
        return self if having.all() else self.take(np.flatnonzero(having))

    def tally(self, name: str) -> dict[str, int]:
        """Count the rows by their text in a column of few different ones; those without are left out."""
        coded = self.coded[name]
        counts = np.bincount(coded.codes, minlength=len(coded.values)).tolist()
        found = zip(coded.values, counts, strict=True)
        return {text: count for text, count in sorted(found) if text and count}


def find_paths(text: NDArray[np.uint8], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tell where each of so many paths starts and ends in their text."""
    between = np.flatnonzero(text == 0)
    if not count:
        return between[:0], between[:0]
    return np.concatenate([[0], between + 1]), np.concatenate([between, [len(text)]])
