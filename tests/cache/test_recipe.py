import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.recipe import (
    DamagedRecipeError,
    Recipe,
    RecipeFile,
    read_recipe,
    write_recipe,
)
from bottleneck.errors import BottleneckError

RECIPE = Recipe("inception_v3", "mixed10", "avg", "random-0", "00" * 32, 75, "squash", "d1")
OTHERS = {
    "base": "vgg16",
    "tap": "mixed7",
    "pool": "max",
    "weights_digest": "11" * 32,
    "image_size": 76,
    "fit": "crop",
    "decoder": "d2",
    "precision": "float16",
    "dtype": "float16",
    "augmentation": "flip",
}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Recipe) if f.compare])
def test_every_field_that_determines_a_feature_is_part_of_the_id(field: str) -> None:
    assert dataclasses.replace(RECIPE, **{field: OTHERS[field]}).id != RECIPE.id


@given(st.text())
def test_what_the_weights_are_called_is_not_part_of_the_id(name: str) -> None:
    assert dataclasses.replace(RECIPE, weights=name).id == RECIPE.id


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    folder = tmp_path / RECIPE.id
    folder.mkdir()
    entry = RecipeFile(RECIPE, "random-0", ("a", "b"))
    write_recipe(folder, entry)
    assert read_recipe(folder) == entry
    assert read_recipe(folder).recipe.weights == "random-0"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1}', "null"])
def test_a_damaged_recipe_is_refused_and_the_file_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "recipe.json").write_text(damage)
    with pytest.raises(DamagedRecipeError, match=r"recipe\.json is damaged or missing"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("views", 1e400),
        ("views", 10**9),
        ("recipe", "not an object"),
        ("recipe", {}),
        ("fingerprints", [1]),
        ("weights_path", 3),
        ("format", None),
        ("surplus", 1),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, field: str, value: object) -> None:
    folder = tmp_path / RECIPE.id
    folder.mkdir()
    write_recipe(folder, RecipeFile(RECIPE, "random-0", ()))
    content = json.loads((folder / "recipe.json").read_text()) | {field: value}
    (folder / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(DamagedRecipeError, match=rf"recipe\.json is damaged .*{field}"):
        read_recipe(folder)


def test_a_pipe_in_place_of_a_recipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.json")
    with pytest.raises(DamagedRecipeError, match="not a regular file"):
        read_recipe(tmp_path)


def test_an_edited_recipe_does_not_pass_for_another(tmp_path: Path) -> None:
    folder = tmp_path / RECIPE.id
    folder.mkdir()
    write_recipe(folder, RecipeFile(RECIPE, "random-0", ()))
    content = json.loads((folder / "recipe.json").read_text())
    content["recipe"]["image_size"] = 299
    (folder / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(DamagedRecipeError, match="was changed"):
        read_recipe(folder)


def test_a_recipe_of_a_newer_format_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"version": 2}')
    with pytest.raises(BottleneckError, match=r"format version 2 .* pip install --upgrade"):
        read_recipe(tmp_path)
