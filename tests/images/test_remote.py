"""Pictures on a web server, a plain one that knows no ranges."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.extraction.extract import extract
from bottleneck.images.source import read_source
from tests.images.containers import packing

SMALL = {"base": "mobilenet_0.25", "weights": "random", "image_size": 32}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server serves: the pictures as files, and in a zip."""
    top = tmp_path_factory.mktemp("site")
    packing.into_zip(packing.plant(top / "pets"), top / "pets.zip")
    return top


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[str]:
    line = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        line, cwd=site, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}"
        process.kill()


@pytest.fixture(scope="module")
def here(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("here") / "cache"
    assert extract(site / "pets", cache, **SMALL).computed == 10
    return cache


@pytest.mark.parametrize("what", ["index", "csv", "zip"])
def test_pictures_on_a_web_server_are_those_of_the_folder(
    what: str, server: str, site: Path, here: Path, tmp_path: Path
) -> None:
    source = {"index": f"{server}/pets", "zip": f"{server}/pets.zip"}.get(what, "")
    if what == "csv":
        rows = [row.path for row in FeatureCache(here).listing.rows]
        source = str(tmp_path / "pets.csv")
        lines = [f"{server}/pets/{path},{path.split('/')[1]}" for path in rows]
        Path(source).write_text("\n".join(["path,label", *lines]))
    report = extract(source, here, **SMALL)
    assert (report.images, report.computed, report.failed) == (10, 0, 0)
    cache = tmp_path / "cache"
    assert extract(source, cache, **SMALL).computed == 10
    assert FeatureCache(cache).listing.classes == ("cat", "dog")
    assert extract(source, cache, **SMALL).computed == 0


def test_a_picture_that_changed_on_a_web_server_is_computed(
    server: str, site: Path, tmp_path: Path
) -> None:
    packing.plant(site / "more")
    source, cache = f"{server}/more", tmp_path / "cache"
    assert extract(source, cache, **SMALL).computed == 10
    picture = site / "more/train/cat/0.ppm"
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    # web servers tell seconds
    os.utime(picture, (picture.stat().st_mtime + 5,) * 2)
    assert extract(source, cache, **SMALL).computed == 1


class _Silent(SimpleHTTPRequestHandler):
    """Tells of a file neither when it changed nor a tag."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def log_message(self, *_: object) -> None:
        pass


def test_where_a_server_tells_no_dates_pictures_are_read_again(tmp_path: Path) -> None:
    packing.plant(tmp_path / "pets")
    handler = functools.partial(_Silent, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as silent:
        threading.Thread(target=silent.serve_forever, daemon=True).start()
        source, cache = f"http://127.0.0.1:{silent.server_port}/pets", tmp_path / "cache"
        assert extract(source, cache, **SMALL).computed == 10
        picture = tmp_path / "pets/train/cat/0.ppm"
        picture.write_bytes(picture.read_bytes()[:-1] + b"x")
        assert extract(source, cache, **SMALL).computed == 1
        silent.shutdown()


def test_a_page_that_is_not_there_is_one_clear_line(server: str) -> None:
    with pytest.raises(BottleneckError, match="no pictures in http://"):
        read_source(f"{server}/nothing")
