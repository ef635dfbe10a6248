"""Real pictures, a cache of them, and the command line, for every test."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bottleneck
from tests.commandline import Cli, command
from tests.pictures import extract_here, write_crops
from tests.store import Store, running_store

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Pictures and trained weights that are too large for this repository."""
    if not (SHARED / "data").is_dir():
        reason = f"needs the pictures and weights in {SHARED / 'data'}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """The two photographs scikit-learn brings along: a temple and a flower."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory, photographs: list[Image.Image]) -> Path:
    """Four pictures to train on and two to validate with, of two classes."""
    top = tmp_path_factory.mktemp("few") / "images"
    for seed, (split, count) in enumerate([("train", 2), ("val", 1)]):
        for name, photograph in zip(("flower", "temple"), reversed(photographs), strict=True):
            write_crops(top / split / name, photograph, count, seed)
    return top


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, photographs: list[Image.Image]) -> Path:
    """Forty pictures of two classes, in class folders."""
    top = tmp_path_factory.mktemp("some") / "images"
    for name, photograph in zip(("flower", "temple"), reversed(photographs), strict=True):
        write_crops(top / name, photograph, 20, seed=2)
    return top


@pytest.fixture(scope="session")
def few_cache(few_images: Path) -> Path:
    """Features of the few images. Tests that change a cache work on a copy."""
    cache = few_images.parent / "cache"
    extract_here(few_images, cache)
    return cache


@pytest.fixture(scope="session")
def cache(images: Path) -> Path:
    """Features of the forty images. Tests that change a cache work on a copy."""
    cache = images.parent / "cache"
    extract_here(images, cache)
    return cache


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run the command line in a process of its own."""

    def run(*arguments: object, check: bool = True, **options: Any) -> Any:
        process = subprocess.run(
            command(*arguments), capture_output=True, text=True, check=False, **options
        )
        if check and process.returncode:
            pytest.fail(f"{arguments} exited with {process.returncode}: {process.stderr}")
        return process

    return run


@pytest.fixture(scope="session")
def few_run(few_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic head on the few images."""
    return bottleneck.fit_head(few_cache, out=tmp_path_factory.mktemp("runs") / "few").path


@pytest.fixture(scope="session")
def server() -> Iterator[Store]:
    """An S3 server, for all tests."""
    with running_store() as store:
        yield store


_buckets = itertools.count()


@pytest.fixture
def store(server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server as a test finds it: an empty bucket at `url`, and this machine knows nothing of it yet."""
    server.url = server.bucket(f"bucket-{next(_buckets)}")
    server.faults.clear()
    server.asked.clear()
    server.stalled.clear()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BOTTLENECK_MIRROR", str(tmp_path / "mirrors"))
    yield server
    server.faults.clear()
