"""Rows kept as columns are a sequence like any other."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.rows import Row, Rows

# what a POSIX system takes for a name, decoded as Python does
NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: 0 not in name).map(os.fsdecode)
ROWS = st.lists(
    st.builds(
        Row,
        path=NAMES,
        digest=st.integers(0, 2**256 - 2).map(lambda n: f"{n:064x}") | st.just(""),
        label=st.none() | NAMES,
        split=st.sampled_from([None, "train", "val"]),
        status=st.sampled_from(["ok", "failed"]),
        reason=st.sampled_from(["", "empty file"]),
        size=st.integers(-1, 2**62),
        mtime_ns=st.integers(-1, 2**62),
    ),
    max_size=9,
)


@settings(deadline=None)
@given(rows=ROWS)
def test_rows_come_back_as_they_were(rows: list[Row]) -> None:
    kept = Rows.of(rows)
    assert list(kept) == rows
    assert [kept[place] for place in range(-len(rows), len(rows))] == rows * 2
    assert kept == Rows.of(rows)
    for name in Row._fields:
        assert kept.column(name) == [getattr(row, name) for row in rows]
    with pytest.raises(IndexError):
        kept[len(rows)]


@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_some_of_them_in_any_order_are_rows_again(rows: list[Row], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.sampled_from(range(len(rows)))) if rows else st.just([]))
    some = Rows.of(rows).take(np.array(places, np.int64))
    assert list(some) == [rows[place] for place in places]
    assert some.column("path") == [rows[place].path for place in places]
    # and of those again
    half = slice(len(places) // 2, None)
    assert list(some[half]) == [rows[place] for place in places[half]]


@settings(deadline=None)
@given(rows=ROWS)
def test_they_are_chosen_and_counted_by_a_text(rows: list[Row]) -> None:
    kept = Rows.of(rows)
    for text in ("ok", "failed", "gone"):
        assert list(kept.where("status", text)) == [row for row in rows if row.status == text]
    labels = [row.label for row in rows if row.label]
    assert kept.tally("label") == {label: labels.count(label) for label in sorted(set(labels))}


def test_to_go_through_more_than_are_made_at_once() -> None:
    rows = [Row(f"{n}.jpg", size=n) for n in range(10_000)]
    assert list(Rows.of(rows)) == rows
