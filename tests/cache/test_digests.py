"""Digests are looked up as in a set of texts, however many there are."""

import hashlib
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.digests import Digests

# few different ones, some of which agree in their first words or in all but the last digit
SOME = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
ALIKE = [SOME[0][:16] + SOME[n][16:] for n in range(1, 4)] + [SOME[0][:-1] + "0"]
DIGESTS = st.lists(st.sampled_from([*SOME, *ALIKE]), max_size=30)


@settings(deadline=None)
@given(held=DIGESTS, asked=DIGESTS)
def test_each_is_found_at_its_first_place_or_not_at_all(held: list[str], asked: list[str]) -> None:
    found = Digests.of(held).find(Digests.of(asked))
    assert found.tolist() == [held.index(one) if one in held else -1 for one in asked]
    assert [one in Digests.of(held) for one in asked] == [one in held for one in asked]


@settings(deadline=None)
@given(held=DIGESTS)
def test_distinct_ones_keep_their_order(held: list[str]) -> None:
    assert list(Digests.of(held).distinct()) == list(dict.fromkeys(held))


@settings(deadline=None)
@given(st.lists(st.one_of(st.just(""), st.sampled_from(SOME)), max_size=9))
def test_texts_and_bytes_come_back_and_none_stays_none(texts: list[str]) -> None:
    digests = Digests.of(texts)
    assert digests.texts() == texts == list(digests)
    assert [one.decode() for one in digests.to_ascii().tolist()] == texts
    assert Digests.from_ascii(digests.to_ascii()) == digests


def test_more_are_found_than_are_worked_on_at_once() -> None:
    rng = np.random.default_rng(0)
    held = Digests(rng.integers(0, 2**63, (100_000, 4), np.uint64))
    order = rng.permutation(100_000)
    np.testing.assert_array_equal(held.find(held[order]), order)
    strangers = Digests(rng.integers(2**63, 2**64, (40_000, 4), np.uint64))
    assert (held.find(strangers) == -1).all()


def test_digests_that_differ_in_their_last_digits_only_are_told_apart_in_one_look() -> None:
    made_up = Digests.of(f"{number:064x}" for number in range(50_000))
    started = time.process_time()
    np.testing.assert_array_equal(made_up.find(made_up), np.arange(50_000))
    # one by one it would be 50,000 turns; this is no measure of speed but of whether it ends
    assert time.process_time() - started < 60
