import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck import BottleneckError, fit_head
from bottleneck.cache.rows import Row
from bottleneck.heads.grids import GRIDS, find_grid
from bottleneck.heads.registry import HEADS, complete_params, find_head
from bottleneck.heads.search import make_folds
from tests.commandline import Cli, last_json, one_line
from tests.heads.blobs import blobs, write_blobs, write_cache


def trials_of(run: Path) -> list[dict[str, str]]:
    with (run / "search.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@settings(deadline=None, max_examples=40)
@given(
    digests=st.lists(st.integers(0, 40), min_size=12, max_size=60),
    folds=st.integers(3, 6),
    seed=st.integers(0, 9),
)
def test_each_image_is_judged_by_once_and_never_by_a_head_that_saw_it_or_its_duplicate(
    digests: list[int], folds: int, seed: int
) -> None:
    rows = [Row(f"{n}.jpg", f"{d:064x}", f"class {d % 2}") for n, d in enumerate(digests)]
    train, val = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    try:
        made = make_folds(train, val, folds, seed)
    except BottleneckError:
        return  # too few of a class
    assert sorted(n for fold in made for n in fold.score) == list(range(len(rows)))
    for fold in made:
        parts = [{rows[n].digest for n in part} for part in (fold.train, fold.val, fold.score)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        assert {rows[n].label for n in fold.train} == {row.label for row in rows}
    again = make_folds(train, val, folds, seed)
    assert [f.score.tolist() for f in made] == [f.score.tolist() for f in again]


def test_there_are_values_to_search_for_every_head_and_every_head_takes_them() -> None:
    assert set(GRIDS) == set(HEADS)
    for name, grid in GRIDS.items():
        for parameter, values in grid.items():
            for value in values:
                complete_params(find_head(name), {parameter: value})


@pytest.mark.parametrize("folds", [0, 4])
def test_the_best_of_a_grid_is_taken_and_all_of_it_is_told(tmp_path: Path, folds: int) -> None:
    cache = write_blobs(tmp_path / "cache")
    grid = {"n_neighbors": [1, 15], "weights": ["uniform"]}
    fitted = fit_head(cache, "knn", grid=grid, folds=folds, out=tmp_path / "run")
    trials = trials_of(tmp_path / "run")
    losses = [float(trial["log_loss"]) for trial in trials]
    assert losses == sorted(losses)
    assert len(trials) == fitted.run.trials == 2
    best = json.loads(trials[0]["params"])
    assert best["n_neighbors"] == fitted.run.params["n_neighbors"] == 15
    assert fitted.run.params["algorithm"] == "brute"  # what is not searched keeps its value
    assert fitted.run.chosen_on == (f"{folds} folds of train and val" if folds else "val")
    assert (float(trials[0]["spread"]) > 0) == bool(folds)


def test_the_test_split_has_no_part_in_it(tmp_path: Path) -> None:
    sample = blobs(120, 1)
    splits = ["train", "train", "val", "train", "train", "test"] * 20
    found = []
    for turned in (False, True):
        y = sample.y.copy()
        if turned:
            y[5::6] = (y[5::6] + 1) % 3
        cache = write_cache(tmp_path / f"cache-{turned}", sample.X, y, splits)
        out = tmp_path / f"run-{turned}"
        fit_head(cache, "sgd", grid=GRIDS["sgd"], folds=3, out=out)
        found.append(trials_of(out))
    assert found[0] == found[1]


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    cache = write_blobs(tmp_path / "cache")
    for jobs in (1, 2):
        fit_head(cache, "ridge", grid=GRIDS["ridge"], jobs=jobs, out=tmp_path / str(jobs))
    assert trials_of(tmp_path / "1") == trials_of(tmp_path / "2")


def test_what_cannot_be_fitted_comes_last_with_its_reason(tmp_path: Path) -> None:
    cache = write_blobs(tmp_path / "cache")
    fit_head(cache, "knn", grid={"n_neighbors": [3, 5000]}, out=tmp_path / "run")
    trials = trials_of(tmp_path / "run")
    assert json.loads(trials[0]["params"]) == {"n_neighbors": 3}
    assert trials[0]["reason"] == ""
    assert "n_neighbors" in trials[1]["reason"]
    with pytest.raises(BottleneckError, match="knn cannot be fitted"):
        fit_head(cache, "knn", grid={"n_neighbors": [5000]}, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not valid JSON"),
        ("[1]", "expected an object with a list"),
        ("{}", "expected an object with a list"),
        ('{"C": 1}', "expected an object with a list"),
        ('{"C": []}', "expected an object with a list"),
    ],
)
def test_what_is_no_grid_is_said(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(BottleneckError, match=said):
        find_grid("svm", tmp_path / "grid.json")
    with pytest.raises(BottleneckError, match="cannot read the grid"):
        find_grid("svm", tmp_path / "no.json")


def test_a_wrong_value_is_said_before_anything_is_fitted(tmp_path: Path) -> None:
    cache = write_blobs(tmp_path / "cache")
    with pytest.raises(BottleneckError, match="head svm has no parameter 'c'"):
        fit_head(cache, "svm", grid={"C": [1.0], "c": [2.0]}, out=tmp_path / "run")
    with pytest.raises(BottleneckError, match="number of folds from 3, not 2"):
        fit_head(cache, "svm", folds=2, out=tmp_path / "run")
    with pytest.raises(BottleneckError, match=r"too few for --cv 90"):
        fit_head(cache, "svm", folds=90, out=tmp_path / "run")


def test_the_command_searches_a_grid_of_ones_own(tmp_path: Path, cli: Cli) -> None:
    cache = write_blobs(tmp_path / "cache")
    (tmp_path / "grid.json").write_text('{"alpha": [0.001, 1.0], "hidden_layer_sizes": [[8]]}')
    head = ("--head", "sklearn.neural_network.MLPClassifier")
    command = ("fit-head", cache, *head, "--cv", 3, "--out", tmp_path / "run")
    run = last_json(cli(*command, "--grid", tmp_path / "grid.json", "--json"))
    assert run["trials"] == 2
    assert run["params"]["hidden_layer_sizes"] == [8]
    said = one_line(cli(*command[:-2], "--search", check=False))
    assert "head sklearn.neural_network.MLPClassifier has no default search grid" in said


def test_features_are_read_for_every_fold_from_one_file_and_nothing_is_left_of_it(
    tmp_path: Path,
) -> None:
    cache = write_blobs(tmp_path / "cache")
    fit_head(cache, "centroid", grid=GRIDS["centroid"], folds=3, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "head.skops", "predictions.csv", "search.csv"}
    assert np.isfinite([float(trial["log_loss"]) for trial in trials_of(tmp_path / "run")]).all()
