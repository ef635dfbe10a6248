import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.runs.run import Run, free_name, new_run, read_run, write_run
from bottleneck.runs.table import FIXED, class_columns, write_table


def test_a_run_appears_when_all_of_it_is_there(tmp_path: Path) -> None:
    with new_run(tmp_path / "runs" / "mine") as folder:
        (folder / "run.json").write_text("{}")
        assert not (tmp_path / "runs" / "mine").exists()
    assert (tmp_path / "runs" / "mine" / "run.json").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine"]


def test_a_run_that_failed_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), new_run(tmp_path / "mine") as folder:
        (folder / "run.json").write_text("{}")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_place_where_no_run_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BottleneckError, match="--out"), new_run(tmp_path / "file" / "run"):
        pass


def test_free_names_are_free(tmp_path: Path) -> None:
    assert free_name(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-2").symlink_to("nowhere")
    assert free_name(tmp_path, "run") == tmp_path / "run-3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no run at .* bottleneck fit-head"),
        ("", "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        (json.dumps({"format": "bottleneck-run", "version": 2}), "format version 2 .* upgrade"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BottleneckError, match=said):
        read_run(tmp_path)


def test_a_pipe_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(BottleneckError, match="no run at"):
        read_run(tmp_path)


ESCAPES = ["x/../../victim", "..", "/etc", "a\\b", "a\0b", ".hidden", "", "\ud800", "x" * 300]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("field", ["base", "tap", "weights", "pool"])
def test_no_field_of_a_recipe_names_another_folder(
    few_run: Path, tmp_path: Path, field: str, name: str
) -> None:
    content = json.loads((few_run / "run.json").read_text())
    content["recipes"][0][field] = name
    with pytest.raises(
        BottleneckError, match=rf"run\.json is damaged \(recipes\[0\]\.{field}: expected"
    ):
        read_changed(tmp_path, content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["head"], "../head"),
        (["classes"], [1, 2]),
        (["classes"], ["cat"]),
        (["classes"], ["cat", "cat"]),
        (["predict_views"], 10**9),
        (["train_views"], 0),
        (["recipes"], []),
        (["recipes", 0, "image_size"], 10**9),
        (["recipes", 0, "image_size"], 75.0),
        (["recipes", 0, "image_size"], True),
        (["recipes", 0, "precision"], ["float32"]),
        (["weights_paths"], []),
        (["metrics", "train", "accuracy"], math.inf),
        (["metrics", "train", "accuracy"], 10**400),
        (["tuning"], "head"),
        (["version"], "1"),
        (["format"], "other"),
        (["params"], []),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_named(
    few_run: Path, tmp_path: Path, path: list[str | int], value: Any
) -> None:
    content = json.loads((few_run / "run.json").read_text())
    replace_at(content, path, value)
    with pytest.raises(BottleneckError, match="is damaged") as caught:
        read_changed(tmp_path, content)
    assert str(path[-1] if isinstance(path[-1], str) else path[-2]) in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, "9" * 10_000, '{"version": NaN}']
)
def test_text_that_no_reader_should_follow_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BottleneckError, match="is damaged"):
        read_run(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_value_at_any_place_is_refused_or_read(
    few_run: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    content = json.loads((few_run / "run.json").read_text())
    replace_at(content, data.draw(st.sampled_from(list(places(content)))), value)
    with contextlib.suppress(BottleneckError):
        read = read_changed(tmp_path, content)
        assert all(isinstance(name, str) for name in read.classes)
        # what was read can be written, and is the same when read again
        write_run(tmp_path, read)
        assert repr(read_run(tmp_path)) == repr(read)


def read_changed(folder: Path, content: Any) -> Run:
    (folder / "run.json").write_text(json.dumps(content))
    return read_run(folder)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to all parts of a JSON value, its top aside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def replace_at(content: Any, path: Sequence[str | int], value: Any) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


def test_a_table_that_fails_halfway_leaves_the_one_before(tmp_path: Path) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["a"] * 2
        raise ZeroDivisionError

    file = tmp_path / "out.csv"
    file.write_text("before")
    with contextlib.suppress(ZeroDivisionError):
        write_table(file, ["x", "y"], rows())
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_class_called_like_a_fixed_column_gets_a_column_of_its_own() -> None:
    names = class_columns(["ant", *FIXED])
    assert len(set(names) | set(FIXED)) == 1 + 2 * len(FIXED)
