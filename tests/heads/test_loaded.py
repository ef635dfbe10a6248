"""A loaded head is checked against its run before it predicts."""

import json
from pathlib import Path

import numpy as np
import pytest
import skops.io

from bottleneck.errors import BottleneckError
from bottleneck.heads.estimators import FILE_NAME, TRUSTED
from bottleneck.heads.registry import find_head
from bottleneck.serve.predict import predict


def change_coefficients(classifier: object) -> None:
    classifier.coef_ = classifier.coef_[:, :-1]


def change_to_nan(classifier: object) -> None:
    classifier.coef_ = np.full_like(classifier.coef_, np.nan)


def change_intercept(classifier: object) -> None:
    classifier.intercept_ = np.full_like(classifier.intercept_, np.inf)


def change_type(classifier: object) -> None:
    classifier.coef_ = "text"


@pytest.fixture
def copy(few_run: Path, tmp_path: Path) -> Path:
    for file in few_run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "change", [change_coefficients, change_to_nan, change_intercept, change_type]
)
def test_a_head_with_other_numbers_inside_is_refused(copy: Path, change: object) -> None:
    pipeline = skops.io.load(copy / FILE_NAME, trusted=TRUSTED)
    change(pipeline[-1])
    skops.io.dump(pipeline, copy / FILE_NAME)
    with pytest.raises(BottleneckError, match=r"fit it again with: bottleneck fit-head"):
        find_head("logistic").load(copy, 2)


def test_a_head_of_other_classes_than_its_run_is_refused(
    copy: Path, few_images: Path, few_cache: Path
) -> None:
    content = json.loads((copy / "run.json").read_text())
    content["classes"] = ["flower", "temple", "tower"]
    (copy / "run.json").write_text(json.dumps(content))
    with pytest.raises(BottleneckError, match="expected probabilities of 3 classes"):
        predict(copy, few_images, cache=few_cache)
