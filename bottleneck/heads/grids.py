"""Search grids: one for each head, and grids from files."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bottleneck.errors import BottleneckError

Grid = Mapping[str, Sequence[Any]]

_TREES: Grid = {"max_features": ["sqrt", 0.05], "min_samples_leaf": [1, 3]}
_RATES = [3e-4, 1e-3, 3e-3]

# Few values, far apart, around the heads' defaults: a search fits each combination in every fold.
# `logistic` chooses its regularisation itself.
GRIDS: Mapping[str, Grid] = {
    "logistic": {"class_weight": [None, "balanced"]},
    "softmax": {"learning_rate": _RATES, "weight_decay": [0.0, 0.01]},
    "dense": {"hidden": [[256], [1024]], "dropout": [0.2, 0.5], "learning_rate": [3e-4, 1e-3]},
    "conv": {"filters": [[64], [128]], "kernel": [1, 3]},
    "sgd": {"alpha": [1e-5, 1e-4, 1e-3, 1e-2]},
    "ridge": {"alpha": [1.0, 10.0, 100.0, 1000.0, 10000.0]},
    "svm": {"C": [0.01, 0.1, 1.0, 10.0]},
    "rbf": {"C": [1.0, 10.0, 100.0], "gamma": ["scale", "auto"]},
    "knn": {"n_neighbors": [1, 3, 5, 10, 20, 50]},
    "centroid": {"shrink_threshold": [None, 0.1, 0.5, 1.0]},
    "lda": {"shrinkage": ["auto", 0.1, 0.5, 0.9]},
    "bayes": {"var_smoothing": [1e-9, 1e-6, 1e-3, 1e-1]},
    "forest": _TREES,
    "extra-trees": _TREES,
    "boosting": {"learning_rate": [0.05, 0.1, 0.2], "max_leaf_nodes": [15, 31]},
}


def find_grid(head: str, file: str | os.PathLike[str] | None = None) -> Grid:
    """Find the grid to search: that of a file, or the default grid of the head.

    Parameters
    ----------
    head : str
    file : path, optional
        A JSON object with a list of values for each parameter.

    Raises
    ------
    BottleneckError
        If the file cannot be read, is not such an object, or the head has no default grid.

    Examples
    --------
    >>> find_grid("svm")
    {'C': [0.01, 0.1, 1.0, 10.0]}
    """
    if file is None:
        if head not in GRIDS:
            raise BottleneckError(
                f"head {head} has no default search grid; give a file with --grid that contains, for example, "
                '{"alpha": [0.01, 0.1, 1]}'
            )
        return GRIDS[head]
    try:
        grid = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise BottleneckError(f"cannot read the grid {file}: {error.strerror}") from error
    except ValueError as error:
        raise BottleneckError(f"{file} is not valid JSON: {error}") from error
    lists = isinstance(grid, dict) and all(isinstance(v, list) and v for v in grid.values())
    if not lists or not grid:
        raise BottleneckError(
            f"{file} is not a grid: expected an object with a list of values for each parameter, such as "
            '{"alpha": [0.01, 0.1, 1]}'
        )
    return dict(grid)
