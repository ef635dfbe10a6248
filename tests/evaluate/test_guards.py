from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import BottleneckError
from bottleneck.cache.features import Located, locate
from bottleneck.cache.store import FeatureCache
from bottleneck.evaluate.duplicates import find_duplicates
from bottleneck.evaluate.guards import Findings, examine, refuse_non_finite
from bottleneck.extraction.progress import no_progress
from bottleneck.heads.data import split_slices
from bottleneck.heads.split import Split, split_rows
from tests.commandline import Cli, one_line
from tests.evaluate.synthetic import clusters, digest, three_splits, write_cache


def opened(path: Path) -> tuple[Located, Split, tuple[str, ...]]:
    store = FeatureCache(path)
    split = split_rows(store.listing.ok, 0)
    rows = [row for part in split.parts.values() for row in part]
    classes = store.listing.classes
    return locate(store.path, store.recipes, rows, classes), split, classes


def findings_of(path: Path) -> Findings:
    images, split, classes = opened(path)
    return examine(images, split, classes, 0, no_progress)


def test_data_nothing_is_wrong_with_give_no_warning(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=4)
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], three_splits(300)))
    assert found == Findings((), (), ())


@pytest.mark.parametrize("width", [24, 600])
def test_a_test_set_leaked_into_training_is_found(tmp_path: Path, width: int) -> None:
    """Half of it as copies that were saved again, and five images byte for byte."""
    X, y = clusters(400, 4, width=width)
    splits, keys = three_splits(400), [digest(n) for n in range(400)]
    rng = np.random.default_rng(1)
    test = [n for n in range(400) if splits[n] == "test"]
    train = [n for n in range(400) if splits[n] == "train"]
    leaked = list(zip(train, test[::2], strict=False))
    for number, (source, copy) in enumerate(leaked):
        y[copy] = y[source]
        X[copy] = X[source] + 0.2 * rng.standard_normal(width)
        if number < 5:
            keys[copy] = keys[source]
    path = write_cache(tmp_path / "c", X, [f"c{c}" for c in y], splits, digests=keys)
    found = findings_of(path)
    pairs = {(pair.first, pair.second) for pair in found.duplicates if pair.across}
    expected = {(f"{source:04d}.jpg", f"{copy:04d}.jpg") for source, copy in leaked}
    assert pairs == expected
    assert sum(pair.identical for pair in found.duplicates) == 5
    (line,) = [line for line in found.warnings if "nearly the same as one in train" in line]
    assert line.startswith("40 of 80 images in test")
    assert "(5 of them byte for byte)" in line


def test_images_of_a_class_that_are_all_alike_are_no_duplicates(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=12)  # cosines within a class are above 0.95
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], three_splits(300)))
    assert found.duplicates == ()


def test_images_that_are_the_same_all_over_are_told_in_no_more_pairs_than_images(
    tmp_path: Path,
) -> None:
    X, y = clusters(60, 2)
    X[:] = X[0]
    path = write_cache(
        tmp_path / "c",
        X,
        [f"c{c}" for c in y],
        three_splits(60),
        digests=[digest(0)] * 60,
    )
    images, split, _ = opened(path)
    found = find_duplicates(images, split_slices(split), 0)
    assert len(found.pairs) == 59
    assert set(found.groups) == {0}


def test_duplicates_with_different_labels_are_told(tmp_path: Path) -> None:
    X, y = clusters(200, 2)
    labels = [f"c{c}" for c in y]
    X[1] = X[0] + 0.01
    found = findings_of(write_cache(tmp_path / "c", X, labels, three_splits(200)))
    assert any("different labels, one of them 000" in line for line in found.warnings)


def test_labels_flipped_on_one_image_in_twenty_are_found(tmp_path: Path) -> None:
    X, y = clusters(1000, 5, width=64, apart=3)
    rng = np.random.default_rng(2)
    flipped = rng.choice(1000, 50, replace=False)
    given = y.copy()
    given[flipped] = (y[flipped] + rng.integers(1, 5, 50)) % 5
    path = write_cache(tmp_path / "c", X, [f"c{c}" for c in given], three_splits(1000))
    found = findings_of(path)
    suspects = {int(suspect.path[:4]) for suspect in found.suspects}
    hits = suspects & set(flipped.tolist())
    assert len(hits) / len(flipped) >= 0.9  # recall
    assert len(hits) / len(suspects) >= 0.95  # precision
    right = [
        s.likely == f"c{y[int(s.path[:4])]}" for s in found.suspects if int(s.path[:4]) in hits
    ]
    assert np.mean(right) > 0.95
    first = found.suspects[0]
    assert any(f"first of all that of {first.path}: it says" in line for line in found.warnings)


def test_a_class_missing_from_a_split_is_told(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=4)
    splits = three_splits(300)
    splits = [
        "train" if c == 2 and split == "val" else split for c, split in zip(y, splits, strict=True)
    ]
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], splits))
    assert found.warnings == (
        "val has no image of 1 of 3 classes: c2; its figures say nothing of them.",
    )


def test_small_classes_are_told_and_their_labels_not_checked(tmp_path: Path) -> None:
    X, y = clusters(303, 3, apart=4)
    labels = [f"c{c}" for c in y]
    labels[:3] = ["rare"] * 3
    splits = ["train", "val", "test", *three_splits(300)]
    found = findings_of(write_cache(tmp_path / "c", X, labels, splits))
    assert any(
        "1 of 4 classes have fewer than 10 images to train on: rare (1)" in w
        for w in found.warnings
    )
    assert any("Labels of 1 classes were not checked" in line for line in found.warnings)


def test_features_that_are_no_numbers_are_refused_and_the_image_named(tmp_path: Path) -> None:
    X, y = clusters(50, 2)
    X[7, 3], X[9, 0] = np.nan, np.inf
    path = write_cache(
        tmp_path / "c", X, [f"c{c}" for c in y], ["train", "train", "val", "val", "test"] * 10
    )
    with pytest.raises(
        BottleneckError, match=r"2 of 50 images have .* no finite numbers, the first '000[79].jpg'"
    ):
        refuse_non_finite(opened(path)[0])
    with pytest.raises(BottleneckError, match="no features to compare heads on: 2 of 50 images"):
        bottleneck.compare(path, ["logistic"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["only"] * 40, "a head needs images of two classes or more, found 1 (only)"),
        ([f"c{n}" for n in range(40)], "too few images to set some aside for validation"),
    ],
    ids=["one class only", "one image per class"],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    labels: list[str], message: str, tmp_path: Path, cli: Cli
) -> None:
    X, _ = clusters(40, 2)
    path = write_cache(tmp_path / "c", X, labels, [None] * 40)
    line = one_line(cli("compare", path, "--heads", "logistic", check=False))
    assert message in line
