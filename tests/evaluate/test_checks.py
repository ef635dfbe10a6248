from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import BottleneckError
from bottleneck.cache.store import FeatureCache
from bottleneck.evaluate.checks import Findings, check_data, check_finite
from bottleneck.evaluate.duplicates import find_duplicates
from bottleneck.extraction.progress import no_progress
from bottleneck.heads.data import LabelledFeatures, load_labelled
from bottleneck.heads.split import split_rows
from tests.commandline import Cli, one_line
from tests.evaluate.synthetic import clusters, digest, three_splits, write_cache


def opened(path: Path) -> LabelledFeatures:
    store = FeatureCache(path)
    return load_labelled(store.path, store.recipes, split_rows(store.listing.ok, 0), 1)


def findings_of(path: Path) -> Findings:
    return check_data(opened(path), 0, no_progress)


def test_clean_data_give_no_warning(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=4)
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], three_splits(300)))
    assert found == Findings((), (), ())


@pytest.mark.parametrize("width", [24, 600])
def test_a_test_set_leaked_into_training_is_found(tmp_path: Path, width: int) -> None:
    """Half of the test images are re-encoded copies of training images, and five are identical."""
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
    (line,) = [line for line in found.warnings if "near-duplicates of images in train" in line]
    assert line.startswith("40 of 80 images in test")
    assert "(5 of them identical files)" in line


def test_similar_images_of_a_class_are_not_duplicates(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=12)  # cosines within a class are above 0.95
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], three_splits(300)))
    assert found.duplicates == ()


def test_a_set_of_identical_images_gives_fewer_pairs_than_images(tmp_path: Path) -> None:
    X, y = clusters(60, 2)
    X[:] = X[0]
    path = write_cache(
        tmp_path / "c",
        X,
        [f"c{c}" for c in y],
        three_splits(60),
        digests=[digest(0)] * 60,
    )
    data = opened(path)
    found = find_duplicates(data.plain, data.slices, 0)
    assert len(found.pairs) == 59
    assert set(found.groups) == {0}


def test_duplicates_with_different_labels_give_a_warning(tmp_path: Path) -> None:
    X, y = clusters(200, 2)
    labels = [f"c{c}" for c in y]
    X[1] = X[0] + 0.01
    found = findings_of(write_cache(tmp_path / "c", X, labels, three_splits(200)))
    assert any("different labels. Example: 000" in line for line in found.warnings)


def test_flipped_labels_of_one_image_in_twenty_are_found(tmp_path: Path) -> None:
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
    assert any(f"Most suspicious: {first.path} (labelled " in line for line in found.warnings)


def test_a_class_missing_from_a_split_gives_a_warning(tmp_path: Path) -> None:
    X, y = clusters(300, 3, apart=4)
    splits = three_splits(300)
    splits = [
        "train" if c == 2 and split == "val" else split for c, split in zip(y, splits, strict=True)
    ]
    found = findings_of(write_cache(tmp_path / "c", X, [f"c{c}" for c in y], splits))
    assert found.warnings == (
        "val has no images of 1 of 3 classes: c2; its scores do not cover them.",
    )


def test_small_classes_give_a_warning_and_their_labels_are_not_checked(tmp_path: Path) -> None:
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


def test_non_finite_features_are_an_error_that_names_the_image(tmp_path: Path) -> None:
    X, y = clusters(50, 2)
    X[7, 3], X[9, 0] = np.nan, np.inf
    path = write_cache(
        tmp_path / "c", X, [f"c{c}" for c in y], ["train", "train", "val", "val", "test"] * 10
    )
    with pytest.raises(
        BottleneckError, match=r"2 of 50 images have .* not finite numbers, the first '000[79].jpg'"
    ):
        check_finite(opened(path).plain)
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
def test_data_that_cannot_be_compared_are_an_error_in_one_line(
    labels: list[str], message: str, tmp_path: Path, cli: Cli
) -> None:
    X, _ = clusters(40, 2)
    path = write_cache(tmp_path / "c", X, labels, [None] * 40)
    line = one_line(cli("compare", path, "--heads", "logistic", check=False))
    assert message in line
