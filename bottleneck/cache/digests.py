"""Digests by the million: 32 bytes each, and looked up all at once."""

import binascii
import contextlib
import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

# The value of each hexadecimal digit by its ASCII code. What is none, as in a damaged file, counts as nought:
# it is for a checksum to find.
_NIBBLES = np.zeros(256, np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _NIBBLES[_digit] = _value

# Rows worked on at once: few megabytes, that stay in the processor's cache.
_BLOCK = 1 << 15

_WIDTH = 64  # hexadecimal digits of a SHA-256

_NONE = np.uint64(2**64 - 1)

# Odd numbers without a pattern (from SplitMix64, Steele et al. 2014, and the like): digests made up
# for trials, which differ in their last digits only, get different keys too.
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64
)


def _keys(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Make one number of each digest's four."""
    keys: NDArray[np.uint64] = words @ _FACTORS
    return keys


class Digests(Sequence[str]):
    """SHA-256 digests in hexadecimal, in a fixed order, and where to find each.

    Parameters
    ----------
    words : ndarray of uint64, shape (n, 4)
        Each digest as four numbers, the most significant first. Where all bits are set there is none.

    Examples
    --------
    >>> some = Digests.of(["1f" * 32, "2e" * 32, "1f" * 32])
    >>> len(some), some[1][:6], "1f" * 32 in some, "3d" * 32 in some
    (3, '2e2e2e', True, False)
    >>> some.find(Digests.of(["2e" * 32, "3d" * 32, "1f" * 32]))
    array([ 1, -1,  0])
    """

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self.words = words

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Digests":
        """Take digests in hexadecimal; an empty text stands for none."""
        return cls.from_ascii(np.array(list(texts), dtype=f"S{_WIDTH}"))

    @classmethod
    def from_ascii(cls, stored: NDArray[np.bytes_]) -> "Digests":
        """Take digests as files keep them: 64 ASCII bytes each."""
        if stored.dtype.itemsize == _WIDTH:
            # as a rule there is a digest for each, and this takes a tenth of what follows
            with contextlib.suppress(binascii.Error):
                return cls(
                    np.frombuffer(binascii.unhexlify(stored.tobytes()), ">u8")
                    .reshape(-1, 4)
                    .astype(np.uint64)
                )
        words = np.empty((len(stored), 4), np.uint64)
        for start in range(0, len(stored), _BLOCK):
            part = np.ascontiguousarray(stored[start : start + _BLOCK])
            nibbles = _NIBBLES[part.view(np.uint8).reshape(-1, _WIDTH)]
            pairs = nibbles[:, 0::2] << 4 | nibbles[:, 1::2]
            words[start : start + _BLOCK] = pairs.view(">u8")
            words[start : start + _BLOCK][part == b""] = _NONE
        return cls(words)

    @classmethod
    def join(cls, parts: Iterable["Digests"]) -> "Digests":
        """Put several one after the other."""
        return cls(np.concatenate([np.empty((0, 4), np.uint64), *(part.words for part in parts)]))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether there is a digest, for each."""
        found: NDArray[np.bool_] = (self.words != _NONE).any(axis=1)
        return found

    def to_ascii(self) -> NDArray[np.bytes_]:
        """Give 64 ASCII bytes for each, as files keep them; none is empty."""
        text = self.words.astype(">u8").tobytes().hex().encode()
        stored = np.frombuffer(text, f"S{_WIDTH}").copy()
        stored[~self.present] = b""
        return stored

    def texts(self) -> list[str]:
        """Give them in hexadecimal: all at once, which takes a tenth of one by one."""
        text = self.words.astype(">u8").tobytes().hex()
        found = [text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]
        for place in np.flatnonzero(~self.present):
            found[place] = ""
        return found

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: "slice | NDArray[np.int64] | NDArray[np.bool_]") -> "Digests": ...
    def __getitem__(
        self, place: "int | slice | NDArray[np.int64] | NDArray[np.bool_]"
    ) -> "str | Digests":
        """Give one digest, or some of them."""
        if isinstance(place, int | np.integer):
            return Digests(self.words[place : place + 1 or None]).texts()[0]
        return Digests(self.words[place])

    def __contains__(self, digest: object) -> bool:
        # as `find`, in a tenth of the time it takes for one
        if not isinstance(digest, str) or len(digest) != _WIDTH:
            return False
        words = [int(digest[start : start + 16], 16) for start in range(0, _WIDTH, 16)]
        products = zip(words, _FACTORS.tolist(), strict=True)
        key = np.uint64(sum(word * factor for word, factor in products) % 2**64)
        first = int(np.searchsorted(self._sorted_keys, key))
        same_key = itertools.takewhile(
            lambda at: self._sorted_keys[at] == key, range(first, len(self))
        )
        return any(self.words[self._order[at]].tolist() == words for at in same_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digests) and np.array_equal(self.words, other.words)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """Places in the order of their keys."""
        return np.argsort(_keys(self.words), kind="stable")

    @cached_property
    def _sorted_keys(self) -> NDArray[np.uint64]:
        return _keys(self.words)[self._order]

    def find(self, others: "Digests") -> NDArray[np.int64]:
        """Tell where each of some others is in these: the first place, or -1.

        Returns
        -------
        ndarray of int64, shape (len(others),)
        """
        found = np.full(len(others), -1, np.int64)
        for start in range(0, len(others), _BLOCK):
            wanted = others.words[start : start + _BLOCK]
            keys = _keys(wanted)
            # in their own order, for a search that jumps about waits for memory each time
            ascending = np.argsort(keys)
            at = np.empty_like(ascending)
            at[ascending] = np.searchsorted(self._sorted_keys, keys[ascending])
            pending = np.arange(len(wanted))
            # as a rule once: another turn is for different digests of one key
            while len(pending := pending[at[pending] < len(self)]):
                candidates = self._order[at[pending]]
                alike = self._sorted_keys[at[pending]] == keys[pending]
                equal = alike & (self.words[candidates] == wanted[pending]).all(axis=1)
                found[start + pending[equal]] = candidates[equal]
                pending = pending[alike & ~equal]
                at[pending] += 1
        return found

    def distinct(self) -> "Digests":
        """Leave out those that occurred before."""
        return Digests(self.words[self.find(self) == np.arange(len(self))])
