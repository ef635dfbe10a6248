"""A small base, a head on its features, and fine-tuning that takes seconds."""

from pathlib import Path

import pytest

import bottleneck
from bottleneck.heads.fit import FittedRun
from tests.pictures import extract_here

# A network of 0.2 million parameters, on images of 32 pixels.
BASE = {"base": "mobilenet_0.25", "image_size": 32}


@pytest.fixture(scope="session")
def small_cache(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the forty images. Activations are added to it by tests."""
    cache = tmp_path_factory.mktemp("small") / "cache"
    extract_here(images, cache, **BASE)
    return cache


@pytest.fixture(scope="session")
def small_run(small_cache: Path) -> Path:
    """A logistic head that knows little yet, so that there is something to learn."""
    out = small_cache.parent / "run"
    return bottleneck.fit_head(small_cache, out=out, params={"C": 1e-4}).path


@pytest.fixture(scope="session")
def tuned(small_run: Path) -> FittedRun:
    """The same, fine-tuned on images in two stages."""
    stages = "conv_pw_12:2@1e-3,conv_pw_10:1@1e-4"
    return bottleneck.finetune(small_run, stages, mode="live", out=small_run.parent / "tuned")
