import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.rows import Row
from bottleneck.errors import BottleneckError
from bottleneck.heads.split import SHARES, split_rows


def rows_of(labels: dict[str, int], split: str | None = None, start: int = 0) -> list[Row]:
    return [
        Row(f"{label}/{n}.jpg", f"{hash((label, n, start)) & (2**64 - 1):064x}", label, split)
        for label, count in labels.items()
        for n in range(count)
    ]


SETS = st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 40), min_size=2).map(rows_of)


@given(rows=SETS, seed=st.integers(0, 99), shuffled=st.randoms())
def test_every_image_is_in_one_part_whatever_the_order(rows, seed, shuffled) -> None:
    split = split_rows(rows, seed)
    parts = {name: {row.path for row in part} for name, part in split.parts.items()}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(rows)
    again = list(rows)
    shuffled.shuffle(again)
    assert {k: {r.path for r in p} for k, p in split_rows(again, seed).parts.items()} == parts


@given(rows=SETS, seed=st.integers(0, 99))
def test_each_class_is_divided_in_the_same_shares(rows, seed) -> None:
    split = split_rows(rows, seed)
    for label in {row.label for row in rows}:
        total = sum(row.label == label for row in rows)
        for name, share in SHARES.items():
            count = sum(row.label == label for row in split.parts.get(name, ()))
            assert abs(count - share * total) <= 2
        assert any(row.label == label for row in split.parts["train"])
        assert any(row.label == label for row in split.parts["val"])


@given(rows=SETS, copies=st.lists(st.integers(0, 10**6), max_size=20), seed=st.integers(0, 9))
def test_duplicates_never_straddle_it(rows, copies, seed) -> None:
    doubled = rows + [
        rows[n % len(rows)]._replace(path=f"copy {i}", label=rows[(n * 7) % len(rows)].label)
        for i, n in enumerate(copies)
    ]
    try:
        split = split_rows(doubled, seed)
    except BottleneckError:
        return  # a copy under another label may leave a class without images of its own
    where: dict[str, set[str]] = {}
    for name, part in split.parts.items():
        for row in part:
            where.setdefault(row.digest, set()).add(name)
    assert all(len(names) == 1 for names in where.values())


def test_another_seed_is_another_division() -> None:
    rows = rows_of({"a": 40, "b": 40})
    assert split_rows(rows, 0).parts["test"] != split_rows(rows, 1).parts["test"]


def test_splits_given_by_the_data_are_kept() -> None:
    given_rows = rows_of({"a": 5, "b": 5}, "train") + rows_of({"a": 2, "b": 2}, "val", 1)
    split = split_rows(given_rows, 0)
    assert split.kind == "given"
    assert all(row.split == name for name, part in split.parts.items() for row in part)


def test_a_validation_part_is_taken_from_train_and_never_from_test() -> None:
    rows = rows_of({"a": 20, "b": 20}, "train") + rows_of({"a": 9, "b": 9}, "test", 1)
    split = split_rows(rows, 0)
    assert {row.split for row in split.parts["val"]} == {"train"}
    assert {row.split for row in split.parts["test"]} == {"test"}
    assert len(split.parts["test"]) == 18


def test_images_without_a_label_or_a_split_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of({"a": 5, "b": 5}, "train")
    extra = [Row("x.jpg", "11" * 32, None, "train"), Row("y.jpg", "22" * 32, "a", None)]
    with caplog.at_level(logging.WARNING, "bottleneck"):
        split = split_rows(rows + extra, 0)
    assert sum(map(len, split.parts.values())) == 10
    assert "1 images have no split" in caplog.text


def test_images_in_train_and_in_val_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of({"a": 5, "b": 5}, "train")
    val = [row._replace(path=f"val {row.path}", split="val") for row in rows[::2]]
    with caplog.at_level(logging.WARNING, "bottleneck"):
        split_rows(rows + val, 0)
    assert "5 of 5 images in val are identical to images in train" in caplog.text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "two classes or more, found 0"),
        (rows_of({"a": 9}), "two classes or more, found 1"),
        (rows_of({"a": 9, "b": 9}, "val"), "no train split"),
        (rows_of({"a": 9}, "train") + rows_of({"b": 9}, "val"), "no training images .*: b"),
        (rows_of({"a": 1, "b": 1}), "too few images"),
    ],
)
def test_what_cannot_be_split_is_refused(rows: list[Row], said: str) -> None:
    with pytest.raises(BottleneckError, match=said):
        split_rows(rows, 0)
