"""The examples in docstrings do what they show."""

import doctest
import importlib
import pkgutil
import shutil
from pathlib import Path

import pytest

import bottleneck

MODULES = sorted(m.name for m in pkgutil.walk_packages(bottleneck.__path__, "bottleneck."))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_shown(
    name: str, few_images: Path, few_cache: Path, few_run: Path, tmp_path: Path
) -> None:
    module = importlib.import_module(name)
    kept = set((few_cache / "features").iterdir())
    result = doctest.testmod(
        module,
        extraglobs={
            "example_images": few_images,
            "example_cache": few_cache,
            "example_run": few_run,
            "example_folder": tmp_path,
        },
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    # other tests share the cache: what fine-tuning adds to it goes again
    for added in set((few_cache / "features").iterdir()) - kept:
        shutil.rmtree(added)
    assert result.failed == 0


def test_public_names_have_examples() -> None:
    for name in bottleneck.__all__:
        if name != "BottleneckError":
            assert ">>>" in (getattr(bottleneck, name).__doc__ or ""), name
