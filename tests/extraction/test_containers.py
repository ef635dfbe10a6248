"""A cache knows the pictures of a folder again, whatever they were packed into."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.store import FeatureCache
from bottleneck.extraction.extract import extract
from bottleneck.extraction.report import ExtractReport
from tests.images.containers import packing
from tests.store import Store


def extract_here(source: Path | str, cache: Path) -> ExtractReport:
    return extract(
        source, cache, base="mobilenet_0.25", weights="random", image_size=32, batch_size=4
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packing.plant(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="module")
def cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    assert extract_here(folder, cache).computed == 10
    return cache


PACKED: dict[str, Callable[[Path, Path], Path]] = {
    "zip": lambda folder, top: packing.into_zip(folder, top / "pets.zip"),
    "tar": lambda folder, top: packing.into_tar(folder, top / "pets.tar"),
    "webdataset": lambda folder, top: packing.into_webdataset(folder, top / "shards"),
    "parquet": lambda folder, top: packing.into_parquet(folder, top / "table"),
    "npz": lambda folder, top: packing.into_npz(folder, top / "pets.npz"),
    "hdf5": lambda folder, top: packing.into_hdf5(folder, top / "pets.h5"),
    "cifar": lambda folder, top: packing.into_cifar(folder, top / "cifar"),
}


@pytest.mark.parametrize("kind", PACKED)
def test_with_a_cache_of_the_folder_nothing_is_computed(
    kind: str, folder: Path, cache: Path, tmp_path: Path
) -> None:
    report = extract_here(PACKED[kind](folder, tmp_path), cache)
    assert (report.images, report.computed, report.failed) == (10, 0, 0)


@pytest.mark.parametrize("kind", PACKED)
def test_features_are_those_of_the_folder(
    kind: str, folder: Path, cache: Path, tmp_path: Path
) -> None:
    extract_here(folder, cache)
    expected = FeatureCache(cache).load()
    own = tmp_path / "own"
    assert extract_here(PACKED[kind](folder, tmp_path), own).computed == 10
    found = FeatureCache(own).load()
    order = {digest: row for row, digest in enumerate(found.digests)}
    same = found.X[[order[digest] for digest in expected.digests]]
    np.testing.assert_array_equal(same, expected.X)
    # and a second time nothing is
    assert extract_here(tmp_path / _source(tmp_path), own).computed == 0


@pytest.mark.parametrize("kind", PACKED)
def test_behind_a_url_they_are_read_where_they_lie(
    kind: str, folder: Path, cache: Path, tmp_path: Path, store: Store
) -> None:
    packed = PACKED[kind](folder, tmp_path)
    url = f"{store.url}/{packed.name}"
    for file in [packed] if packed.is_file() else sorted(packed.iterdir()):
        store.put(f"{url}/{file.name}" if packed.is_dir() else url, file.read_bytes())
    report = extract_here(url, cache)
    assert (report.images, report.computed, report.failed) == (10, 0, 0)
    # their pictures come with few requests, and most of them were read to list them
    most = 12 if kind in {"parquet", "cifar"} else 4
    assert store.count("GET /[^?]*/") <= most
    own = tmp_path / "own"
    assert extract_here(url, own).computed == 10
    found, expected = FeatureCache(own), FeatureCache(cache)
    assert found.listing.root == (url if packed.is_dir() else store.url)
    rows = {row.digest: row for row in expected.listing.ok}
    assert {row.digest: row.label for row in found.listing.ok} == {
        digest: row.label for digest, row in rows.items()
    }
    features = dict(zip(expected.load().digests, expected.load().X, strict=True))
    for digest, row in zip(found.load().digests, found.load().X, strict=True):
        np.testing.assert_array_equal(row, features[digest])


def test_a_tar_cut_short_or_out_of_reach_behind_a_url_is_named(
    folder: Path, tmp_path: Path, store: Store
) -> None:
    file = packing.into_tar(folder, tmp_path / "pets.tar")
    store.put(f"{store.url}/some/a.tar", file.read_bytes()[: file.stat().st_size // 2])
    store.put(f"{store.url}/some/b.tar", file.read_bytes())
    store.faults.append(["GET .*b.tar", "403", 1000])
    report = extract_here(f"{store.url}/some", tmp_path / "cache")
    assert 0 < report.computed < 10
    reasons = {row.path: row.reason for row in FeatureCache(tmp_path / "cache").listing.failed}
    assert "no access to" in reasons.pop("b.tar")
    [reason] = reasons.values()
    assert "cut short" in reason or "before this image does" in reason


def _source(top: Path) -> str:
    return next(each.name for each in sorted(top.iterdir()) if each.name != "own")


def test_a_tar_cut_short_is_extracted_as_far_as_it_goes(folder: Path, tmp_path: Path) -> None:
    file = packing.into_tar(folder, tmp_path / "pets.tar")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = extract_here(file, tmp_path / "cache")
    assert 0 < report.computed < 10
    assert report.failed == 1
    [failed] = FeatureCache(tmp_path / "cache").listing.failed
    assert "cut short" in failed.reason or "before this image does" in failed.reason
