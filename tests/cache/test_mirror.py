"""Caches and runs on a real server of S3, and what becomes of them when something is killed or fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck import remote
from bottleneck.cache.info import describe
from bottleneck.cache.mirror import limit, mirror_folder
from bottleneck.cache.prune import prune
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.verify import verify
from bottleneck.errors import BottleneckError
from bottleneck.extraction.extract import extract
from bottleneck.extraction.repair import repair
from tests.commandline import Cli, command, one_line
from tests.store import KEY, SECRET, Store

SMALL = {"base": "mobilenet_0.25", "weights": "random", "image_size": 32}
LINE = (
    "--base",
    "mobilenet_0.25",
    "--weights",
    "random",
    "--image-size",
    "32",
    "--engine",
    "keras",
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.01)


@pytest.fixture(scope="module")
def here(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the forty images on this machine, as small as can be."""
    cache = tmp_path_factory.mktemp("here") / "cache"
    extract(images, cache, **SMALL)
    return cache


@pytest.fixture
def there(here: Path, store: Store) -> str:
    """The same cache on the server, as another machine has left it."""
    for file in here.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            store.put(f"{store.url}/cache/{file.relative_to(here)}", file.read_bytes())
    store.asked.clear()
    return f"{store.url}/cache"


def other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    """From now on be a machine that has no copy of anything."""
    monkeypatch.setenv("BOTTLENECK_MIRROR", str(tmp_path / name))


def assert_same(one: FeatureCache, two: FeatureCache) -> None:
    first, second = one.load(), two.load()
    assert first.paths == second.paths
    assert first.digests == second.digests
    np.testing.assert_array_equal(first.X, second.X)


# --- from it, and to it


def test_pictures_and_cache_on_a_server_give_what_they_give_here(
    store: Store, images: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_folder(images, f"{store.url}/photos")
    report = extract(f"{store.url}/photos", f"{store.url}/caches/photos", **SMALL)
    assert (report.computed, report.failed) == (40, 0)
    assert store.count(r"GET .*\.jpg") == 40  # each once
    assert report.cache == f"{store.url}/caches/photos"
    keys = store.keys(f"{store.url}/caches")
    assert [key.rpartition("/")[2][:6] for key in keys] == ["recipe", "shard-", "listin"]
    other_machine(monkeypatch, tmp_path)
    there = FeatureCache(report.cache)
    assert there.listing.root == f"{store.url}/photos"
    assert_same(there, FeatureCache(here))

    # again, from a machine that has never seen it: no picture is read, and no features
    other_machine(monkeypatch, tmp_path, "third")
    store.asked.clear()
    again = extract(f"{store.url}/photos", report.cache, **SMALL)
    assert (again.computed, again.reused) == (0, 40)
    assert store.count(r"GET .*\.jpg") == 0
    assert not list((tmp_path / "third").rglob("shard-*.h5"))


def test_a_picture_that_changed_is_computed_and_the_others_are_not_read(
    store: Store, images: Path
) -> None:
    store.put_folder(images, f"{store.url}/photos")
    extract(f"{store.url}/photos", f"{store.url}/cache", **SMALL)
    store.put(f"{store.url}/photos/flower/00.jpg", (images / "temple/01.jpg").read_bytes() + b"1")
    store.asked.clear()
    report = extract(f"{store.url}/photos", f"{store.url}/cache", **SMALL)
    assert report.computed == 1
    assert store.count(r"GET .*\.jpg") == store.count("GET .*flower/00.jpg") == 1


def test_a_read_that_fails_for_good_is_that_pictures_reason_and_one_that_passes_is_none(
    store: Store, images: Path, tmp_path: Path
) -> None:
    store.put_folder(images, f"{store.url}/photos")
    store.faults += [
        ["GET .*flower/01.jpg", "503", 10_000],
        ["GET .*flower/02.jpg", "reset", 2],
        ["GET .*flower/03.jpg", "403", 10_000],
    ]
    report = extract(f"{store.url}/photos", tmp_path / "cache", **SMALL)
    assert (report.computed, report.failed) == (38, 2)
    reasons = {row.path: row.reason for row in FeatureCache(tmp_path / "cache").listing.failed}
    assert reasons["flower/01.jpg"].startswith("the store answers 503")
    assert reasons["flower/03.jpg"].startswith("no permission to read it")
    store.faults.clear()
    assert extract(f"{store.url}/photos", tmp_path / "cache", **SMALL).computed == 2


def test_a_csv_names_pictures_below_it_and_anywhere_else(
    store: Store, images: Path, tmp_path: Path
) -> None:
    store.put(f"{store.url}/lists/a.jpg", (images / "flower/00.jpg").read_bytes())
    store.put(f"{store.url}/elsewhere/b.jpg", (images / "temple/00.jpg").read_bytes())
    table = f"path,label\na.jpg,flower\n{store.url}/elsewhere/b.jpg,temple\n"
    store.put(f"{store.url}/lists/labels.csv", table.encode())
    report = extract(f"{store.url}/lists/labels.csv", tmp_path / "cache", **SMALL)
    assert report.computed == 2
    assert FeatureCache(tmp_path / "cache").listing.classes == ("flower", "temple")
    (tmp_path / "here.csv").write_text(f"path,label\n{store.url}/elsewhere/b.jpg,temple\n")
    assert extract(tmp_path / "here.csv", tmp_path / "cache", **SMALL).computed == 0
    store.put(f"{store.url}/lists/labels.csv", table.replace("a.jpg", "none.jpg").encode())
    with pytest.raises(BottleneckError, match=r"names 1 of 2 files that do not exist.*none\.jpg"):
        extract(f"{store.url}/lists/labels.csv", tmp_path / "cache", **SMALL)


def test_a_zip_on_a_server_is_read_where_it_lies(
    store: Store, images: Path, tmp_path: Path
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", images))
    store.put(f"{store.url}/photos.zip", archive.read_bytes())
    report = extract(f"zip::{store.url}/photos.zip", tmp_path / "cache", **SMALL)
    assert report.computed == 40
    assert FeatureCache(tmp_path / "cache").listing.classes == ("flower", "temple")


# --- what is read of it


def test_only_the_features_that_are_wanted_are_fetched(
    there: str, here: Path, store: Store
) -> None:
    cache = FeatureCache(there)
    assert describe(cache).recipes == describe(FeatureCache(here)).recipes
    assert not list(cache.path.rglob("shard-*.h5"))
    assert_same(cache, FeatureCache(here))
    store.asked.clear()
    assert_same(FeatureCache(there), FeatureCache(here))
    assert store.count("GET .*(shard|listing|recipe)") == 0


def test_a_shard_is_fetched_in_parts_and_gone_on_with_after_an_interruption(
    there: str, here: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bottleneck.cache import mirror

    monkeypatch.setattr(mirror, "_PART", 10_000)
    monkeypatch.setattr(mirror, "_TRANSFERS", 1)
    size = next(here.rglob("shard-*.h5")).stat().st_size
    parts = -(-size // 10_000)
    # two parts arrive, and the third never
    store.faults += [["GET .*shard-", "", 2], ["GET .*shard-", "503", 10_000]]
    cache = FeatureCache(there)
    with pytest.raises(BottleneckError, match="cannot be reached"):
        cache.load()
    store.faults.clear()
    store.asked.clear()
    assert_same(cache, FeatureCache(here))
    assert store.count("GET .*shard-") == parts - 2


def test_a_damaged_shard_there_is_named_and_repaired_there(
    there: str,
    here: Path,
    store: Store,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = next(key for key in store.keys(there) if "shard-" in key)
    bucket = there.rpartition("/")[0]
    content = bytearray(store.get(f"{bucket}/{key}"))
    content[-1] ^= 1
    store.put(f"{bucket}/{key}", bytes(content))
    with pytest.raises(BottleneckError, match=rf"is damaged.*cache repair {there}`"):
        FeatureCache(there).load()
    assert len(verify(FeatureCache(there)).damages) == 1
    assert list(repair(there).computed.values()) == [40]
    other_machine(monkeypatch, tmp_path)
    assert not verify(FeatureCache(there)).damages
    assert_same(FeatureCache(there), FeatureCache(here))


@pytest.mark.parametrize("use", ["load", "extract", "verify"])
def test_a_copy_damaged_here_is_fetched_again_and_nothing_is_computed(
    there: str, here: Path, store: Store, images: Path, caplog: pytest.LogCaptureFixture, use: str
) -> None:
    cache = FeatureCache(there)
    cache.load()
    [copy] = cache.path.rglob("shard-*.h5")
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    store.asked.clear()
    if use == "load":
        assert_same(FeatureCache(there), FeatureCache(here))
    elif use == "extract":
        assert extract(images, there, **SMALL).computed == 0
    else:
        assert not verify(FeatureCache(there)).damages
    assert store.count("GET .*shard-") == 1
    assert store.count("PUT .*shard-") == 0
    assert "is damaged and fetched again" in caplog.text
    assert copy.read_bytes() == next(here.rglob("shard-*.h5")).read_bytes()


def test_what_is_pruned_is_removed_there_too(
    there: str, store: Store, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "few.csv").write_text(f"path,label\n{images}/flower/00.jpg,flower\n")
    extract(tmp_path / "few.csv", there, **SMALL)
    assert prune(FeatureCache(there)).rows == 39
    other_machine(monkeypatch, tmp_path)
    assert FeatureCache(there).load().X.shape[0] == 1
    assert sum("shard-" in key for key in store.keys(there)) == 1
    cache = FeatureCache(there)
    prune(cache, recipe=cache.recipes[0].id)
    assert not [key for key in store.keys(there) if "features" in key]


def test_shards_of_least_recent_use_are_dropped_and_those_in_use_or_not_sent_are_not(
    there: str, here: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import bottleneck, sys; print(bottleneck.FeatureCache(sys.argv[1]).load().X.shape)"
    read = [sys.executable, "-c", code]
    subprocess.run([*read, there], check=True, capture_output=True)
    first = mirror_folder(there)
    assert list(first.rglob("shard-*.h5"))
    for file in here.rglob("*"):
        if file.is_file() and not file.name.startswith("."):
            store.put(f"{store.url}/two/{file.relative_to(here)}", file.read_bytes())
    monkeypatch.setenv("BOTTLENECK_MIRROR_BYTES", "1")
    # this process uses the second, nobody the first any more
    two = FeatureCache(f"{store.url}/two")
    assert len(two.load().paths) == 40
    assert not list(first.rglob("shard-*.h5"))
    subprocess.run([*read, there], check=True, capture_output=True)
    assert list(two.path.rglob("shard-*.h5"))


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTLENECK_MIRROR_BYTES", "20 GB")
    with pytest.raises(BottleneckError, match="takes a number of bytes"):
        limit()


def test_another_writer_is_told_of(
    there: str, store: Store, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holder = {"host": "elsewhere", "mirror": "/x"}
    store.put(f"{there}/.writer.json", json.dumps(holder).encode())
    extract(images, there, **SMALL)
    assert "is being written on elsewhere too" in caplog.text
    assert not [key for key in store.keys(there) if ".writer" in key]


# --- killed


@pytest.mark.parametrize("machine", ["same", pytest.param("fresh", marks=pytest.mark.long)])
def test_killed_half_way_through_an_upload_nothing_that_is_sealed_is_lost(
    machine: str,
    store: Store,
    images: Path,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = f"{store.url}/cache"
    # batches of 8 are sealed one by one; the third shard never arrives
    line = command("extract", images, "--cache", there, *LINE, "--batch-size", "8")
    line += ["--seal-seconds", "0"]
    store.faults += [["PUT .*shard-", "", 2], ["PUT .*shard-", "stall", 10_000]]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        mirror = mirror_folder(there)
        while len(list(mirror.rglob("shard-*.h5"))) < 5 or len(store.keys(f"{there}/features")) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        assert store.stalled.wait(300)
        os.kill(process.pid, signal.SIGKILL)
    store.faults.clear()
    arrived = [key for key in store.keys(there) if "shard-" in key]
    assert 0 < len(arrived) < 5
    assert not [key for key in store.keys(there) if "listing" in key]
    if machine == "fresh":
        other_machine(monkeypatch, tmp_path)
    report = extract(images, there, **SMALL)
    assert report.computed == (0 if machine == "same" else 40 - 8 * len(arrived))
    assert set(arrived) < set(store.keys(there))
    other_machine(monkeypatch, tmp_path, "third")
    np.testing.assert_allclose(
        FeatureCache(there).load().X, FeatureCache(here).load().X, rtol=1e-4, atol=1e-5
    )


def test_an_upload_that_fails_says_what_waits_where(
    store: Store, images: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"{store.url}/cache"
    store.faults.append(["PUT .*shard-", "500", 10_000])
    with pytest.raises(BottleneckError, match=r"the store answers 500.*what is sealed waits in"):
        extract(images, there, **SMALL)
    store.faults.clear()
    assert extract(images, there, **SMALL).computed == 0
    assert [key for key in store.keys(there) if "listing" in key]


def test_who_may_not_write_is_told_before_anything_is_computed(store: Store, images: Path) -> None:
    store.faults.append(["PUT", "403", 10_000])
    with pytest.raises(BottleneckError, match=re.escape(f"no access to {store.url}/cache")):
        extract(images, f"{store.url}/cache", **SMALL)


# --- runs


def test_a_head_fitted_there_is_the_one_fitted_here(
    there: str,
    here: Path,
    store: Store,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = bottleneck.fit_head(here, out=tmp_path / "run")
    two = bottleneck.fit_head(there, out=f"{store.url}/runs/one")
    assert two.name == f"{store.url}/runs/one"
    assert two.run.cache == there
    assert two.run.metrics == one.run.metrics
    keys = [key.rpartition("/")[2] for key in store.keys(f"{store.url}/runs/one")]
    assert sorted(keys) == sorted(file.name for file in one.path.iterdir())
    puts = [asked for asked in store.asked if asked.startswith("PUT") and "runs/one" in asked]
    assert puts[-1].split("?")[0].endswith("run.json")
    with pytest.raises(BottleneckError, match="exists already"):
        bottleneck.fit_head(there, out=f"{store.url}/runs/one")

    other_machine(monkeypatch, tmp_path)
    mine = bottleneck.predict(one.path, images, cache=here)
    theirs = bottleneck.predict(f"{store.url}/runs/one", images, cache=there)
    np.testing.assert_array_equal(mine.probabilities, theirs.probabilities)
    ours = bottleneck.compare(here, ["logistic", "centroid"], runs=[one.path])
    others = bottleneck.compare(there, ["logistic", "centroid"], runs=[f"{store.url}/runs/one"])
    assert [entry.scores for entry in ours.entries] == [entry.scores for entry in others.entries]


@pytest.mark.long
def test_fine_tuning_there_gives_what_it_gives_here(
    there: str,
    here: Path,
    store: Store,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = bottleneck.fit_head(here, out=tmp_path / "run").path
    bottleneck.fit_head(there, out=f"{store.url}/runs/one")
    stages, mode = "1:1@1e-4", "cached"
    mine = bottleneck.finetune(run, stages, mode=mode, out=tmp_path / "tuned", cache=here)
    other_machine(monkeypatch, tmp_path)
    theirs = bottleneck.finetune(
        f"{store.url}/runs/one", stages, mode=mode, out=f"{store.url}/runs/two"
    )
    assert theirs.run.tuning.tuned_metrics == mine.run.tuning.tuned_metrics
    assert theirs.run.tuning.source == f"{store.url}/runs/one"
    names = {key.rpartition("/")[2] for key in store.keys(f"{store.url}/runs/two")}
    assert names == {file.name for file in mine.path.iterdir()}
    other_machine(monkeypatch, tmp_path, "third")
    exported = bottleneck.export(f"{store.url}/runs/two", tmp_path / "graph")
    assert exported.file.exists()


# --- secrets


@pytest.mark.long
def test_no_secret_is_written_down_or_said(
    store: Store, images: Path, cli: Cli, tmp_path: Path
) -> None:
    there, run = f"{store.url}/cache", f"{store.url}/run"
    store.put_folder(images, f"{store.url}/photos")
    store.faults.append(["GET .*flower/01.jpg", "503", 10_000])
    lines = [
        ("extract", f"{store.url}/photos", "--cache", there, *LINE, "--debug"),
        ("fit-head", there, "--head", "logistic", "--out", run, "--debug"),
        ("cache", "info", there, "--json"),
    ]
    said = [cli(*line) for line in lines]
    store.faults.append(["", "403", 10_000])
    refused = cli("cache", "info", there, check=False)
    assert "no access to" in one_line(refused)
    text = "".join(each.stdout + each.stderr for each in [*said, refused]).encode()
    bucket = store.url
    text += b"".join(
        store.get(f"{bucket}/{key}") for key in store.keys(bucket) if "photos" not in key
    )
    mirrors = Path(os.environ["BOTTLENECK_MIRROR"])
    text += b"".join(file.read_bytes() for file in mirrors.rglob("*") if file.is_file())
    assert b"flower/01.jpg" in text
    assert SECRET.encode() not in text
    assert KEY.encode() not in text
    signed = cli("extract", f"https://host/x?sig={SECRET}", "--cache", tmp_path / "c", check=False)
    assert SECRET not in one_line(signed)
    assert not (tmp_path / "c").exists()
