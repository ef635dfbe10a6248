import contextlib
import json
from pathlib import Path

import pytest

from bottleneck.errors import BottleneckError
from bottleneck.runs.run import free_name, new_run, read_run
from bottleneck.runs.table import FIXED, class_columns


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


def test_a_class_called_like_a_fixed_column_gets_a_column_of_its_own() -> None:
    names = class_columns(["ant", *FIXED])
    assert len(set(names) | set(FIXED)) == 1 + 2 * len(FIXED)
