"""The options that determine features: one list, whatever they are given to."""

import dataclasses
import inspect
from pathlib import Path

import pytest

from bottleneck import BottleneckError, BottleneckFeatures, extract
from bottleneck.cli.extract import extract as extract_command
from bottleneck.extraction.spec import FeatureSpec
from tests.pictures import extract_here

FIELDS = {field.name: field.default for field in dataclasses.fields(FeatureSpec)}


def defaults(function: object) -> dict[str, object]:
    """Return the defaults of a function's parameters, by name."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters}


@pytest.mark.parametrize("function", [extract, extract_command], ids=["library", "command"])
def test_extract_has_the_options_and_defaults_of_the_spec(function: object) -> None:
    found = defaults(function)
    assert {name: found[name] for name in FIELDS} == FIELDS


def test_the_transformer_has_them_but_for_those_of_views() -> None:
    found = defaults(BottleneckFeatures)
    assert {name for name in FIELDS if name not in found} == {"views", "augment", "drop_blocks"}
    assert all(found[name] == value for name, value in FIELDS.items() if name in found)


def test_fit_is_another_name_of_resize(few_images: Path, tmp_path: Path) -> None:
    small = {"base": "mobilenet_0.25", "image_size": 32}
    one = extract_here(few_images, tmp_path / "one", resize="crop", **small)
    other = extract_here(few_images, tmp_path / "one", fit="crop", **small)
    assert one.recipes == other.recipes
    assert (one.computed, other.computed) == (6, 0)


def test_unknown_values_name_the_option() -> None:
    for name in ("pool", "resize", "precision", "dtype"):
        with pytest.raises(BottleneckError, match=f"unknown value 'odd' for --{name}: "):
            FeatureSpec(**{name: "odd"})
