"""Images on a server that misbehaves: what is read is the image, or there is an error."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bottleneck import remote
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.extraction.extract import extract
from bottleneck.images.place import open_place
from bottleneck.images.ppm import as_ppm
from bottleneck.images.source import read_source
from bottleneck.remote import Remote, RemoteError
from tests.commandline import command
from tests.faults import FaultServer, running_fault_server
from tests.images.containers import packing
from tests.store import Store

SMALL = {"base": "mobilenet_0.25", "weights": "random", "image_size": 32}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def web() -> Iterator[FaultServer]:
    with running_fault_server() as server:
        yield server


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Ten images of two classes, by path."""
    top = packing.plant(tmp_path_factory.mktemp("planted") / "pets")
    return {f"pets/{file.relative_to(top)}": file.read_bytes() for file in top.rglob("*.ppm")}


# --- listings


@pytest.mark.parametrize("fault", ["404", "reset", "503", "403", "cut"])
def test_a_folder_that_cannot_be_listed_is_an_error(web: FaultServer, fault: str) -> None:
    web.files |= {"photos/ants/1.jpg": b"1", "photos/bees/2.jpg": b"2"}
    web.faults.add("GET /photos/bees/?$", fault)
    with pytest.raises(RemoteError, match="/photos/bees"):
        read_source(f"{web.url}/photos")
    web.faults.rules.clear()
    assert read_source(f"{web.url}/photos").classes == ("ants", "bees")


def test_a_folder_that_cannot_be_listed_changes_nothing_of_a_cache(
    web: FaultServer, images: dict[str, bytes], tmp_path: Path
) -> None:
    web.files |= images
    source, cache = f"{web.url}/pets", tmp_path / "cache"
    assert extract(source, cache, **SMALL).computed == 10
    before = (cache / "listing.h5").read_bytes()
    web.faults.add("GET /pets/train/cat/?$", "404")
    with pytest.raises(BottleneckError, match="/pets/train/cat"):
        extract(source, cache, **SMALL)
    assert (cache / "listing.h5").read_bytes() == before


def test_a_folder_whose_index_fails_once_is_listed(web: FaultServer) -> None:
    web.files |= {"photos/ants/1.jpg": b"1", "photos/bees/2.jpg": b"2"}
    web.faults.add("GET /photos/bees/?$", "reset", 2)
    assert read_source(f"{web.url}/photos").classes == ("ants", "bees")


def test_links_to_the_folder_itself_and_names_escaped_in_an_index(web: FaultServer) -> None:
    web.files |= {"photos/a&b.jpg": b"content"}
    web.links["photos"] = ["./", "../", "a&amp;b.jpg"]
    assert list(Remote(f"{web.url}/photos").find()) == ["a&b.jpg"]
    assert Remote(f"{web.url}/photos").read("a&b.jpg") == b"content"


# --- bodies


@pytest.mark.parametrize("fault", ["reset", "cut", "500", "short", "page"])
def test_a_body_that_fails_twice_is_read_in_the_end(
    web: FaultServer, images: dict[str, bytes], tmp_path: Path, fault: str
) -> None:
    web.files |= images
    for path in images:
        web.faults.add(f"GET /{path}", fault, 2)
    report = extract(f"{web.url}/pets", tmp_path / "cache", **SMALL)
    assert (report.computed, report.failed) == (10, 0)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("cut", "broke off within the answer"),
        ("short", r"the store sends 1,542 bytes where 3,085 were expected"),
        ("page", r"the store sends \d+ bytes where 3,085 were expected"),
        ("503", "the store answers 503"),
        ("loop", "redirects in a loop"),
        ("file", "redirects to a URL that is not http"),
    ],
)
def test_a_failure_of_the_store_has_its_cause_and_is_tried_again_by_the_next_run(
    web: FaultServer, images: dict[str, bytes], tmp_path: Path, fault: str, reason: str
) -> None:
    web.files |= images
    web.faults.add("GET /pets/train/cat/0.ppm", fault)
    source, cache = f"{web.url}/pets", tmp_path / "cache"
    report = extract(source, cache, **SMALL)
    assert (report.computed, report.failed) == (9, 1)
    [row] = FeatureCache(cache).listing.failed
    assert re.search(reason, row.reason)
    web.faults.rules.clear()
    report = extract(source, cache, **SMALL)
    assert (report.computed, report.failed) == (1, 0)


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_body_of_an_object_store_that_breaks_off_is_asked_for_again(
    store: Store, fault: str
) -> None:
    store.put(f"{store.url}/a.jpg", b"content")
    store.faults.append(["GET .*a.jpg", fault, 2])
    assert Remote(store.url).read("a.jpg", size=7) == b"content"
    assert store.count("GET .*a.jpg") == 3


def test_an_object_replaced_since_it_was_listed_is_named_at_once(store: Store) -> None:
    store.put(f"{store.url}/a.jpg", b"content")
    with pytest.raises(RemoteError, match="changed since it was listed"):
        Remote(store.url).read("a.jpg", size=70)
    assert store.count("GET .*a.jpg") == 1


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_a_range_that_comes_short_is_asked_for_again(store: Store, fault: str) -> None:
    store.put(f"{store.url}/a.bin", bytes(range(100)))
    store.faults.append(["GET .*a.bin", fault, 2])
    assert Remote(store.url).read("a.bin", 10, 50) == bytes(range(10, 50))


def test_a_range_from_another_place_is_asked_for_again(web: FaultServer) -> None:
    web.files["a.bin"] = bytes(range(100))
    web.faults.add("GET /a.bin", "shift", 2)
    assert Remote(web.url).read("a.bin", 10, 50) == bytes(range(10, 50))


def test_a_folder_of_a_web_server_named_like_an_archive_is_a_folder(web: FaultServer) -> None:
    web.files["photos/x.zip/cat/1.jpg"] = b"content"
    source = read_source(f"{web.url}/photos")
    assert open_place(source.root).read("x.zip/cat/1.jpg") == b"content"
    assert read_source(f"{web.url}/photos/x.zip").classes == ("cat",)


# --- a store that is gone


@pytest.mark.parametrize("fault", ["reset", "503", "401", "page"])
def test_a_store_that_is_gone_stops_the_run_and_what_is_sealed_is_kept(
    web: FaultServer, tmp_path: Path, fault: str
) -> None:
    rng = np.random.default_rng(0)
    for number in range(200):
        web.files[f"many/{number:03}.ppm"] = as_ppm(rng.integers(0, 256, (32, 32, 3), np.uint8))
    web.faults.add("GET /many/1[2-9]", fault)
    source, cache = f"{web.url}/many", tmp_path / "cache"
    with pytest.raises(BottleneckError, match="stopped, for 32 images in a row could not be read"):
        extract(source, cache, **SMALL)
    web.faults.rules.clear()
    report = extract(source, cache, **SMALL)
    assert (report.computed + report.reused, report.failed) == (200, 0)
    assert report.reused >= 64  # all but the batches that were under way


@pytest.mark.parametrize("fault", ["403", "401", "503"])
def test_where_no_image_can_be_read_the_run_fails_and_the_listing_stays(
    web: FaultServer, images: dict[str, bytes], tmp_path: Path, fault: str
) -> None:
    web.files |= images
    source, cache = f"{web.url}/pets", tmp_path / "cache"
    extract(source, cache, **SMALL)
    before = (cache / "listing.h5").read_bytes()
    web.faults.add("(GET|HEAD) .*ppm", fault)
    with pytest.raises(BottleneckError, match=f"none of the 10 images .* answers {fault}"):
        extract(source, cache, **SMALL)
    assert (cache / "listing.h5").read_bytes() == before


# --- a store that stalls


def test_a_body_that_stalls_is_given_up_and_asked_for_again(
    web: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_READ_SECONDS", 0.3)
    web.files["a.bin"] = bytes(range(100))
    web.faults.add("GET /a.bin", "stall", 1)
    assert Remote(web.url).read("a.bin") == bytes(range(100))
    web.faults.add("GET /a.bin", "stall")
    with pytest.raises(RemoteError, match="does not answer in time"):
        Remote(web.url).read("a.bin")


@pytest.mark.parametrize(
    ("number", "stalls"),
    [
        (signal.SIGTERM, "GET .*ppm"),
        (signal.SIGINT, "HEAD .*ppm"),
        (signal.SIGTERM, "GET /pets/?$"),
    ],
)
def test_a_signal_ends_a_run_that_waits_for_a_store(
    web: FaultServer, images: dict[str, bytes], tmp_path: Path, number: int, stalls: str
) -> None:
    web.files |= images
    web.faults.add(stalls, "stall")
    options = ("--base", "mobilenet_0.25", "--weights", "random", "--image-size", "32")
    line = command("extract", f"{web.url}/pets", "--cache", tmp_path / "cache", *options)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert web.faults.stalled.wait(60)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    # 2 s on a machine with nothing else to do; the store itself is given up after 75
    assert time.monotonic() - began < 20
