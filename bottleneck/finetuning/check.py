"""Check that the joined graph gives the head's predictions."""

import logging
from typing import Any

import numpy as np

from bottleneck.cache.features import locate
from bottleneck.cache.location import name_of
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.inputs import TrainingData
from bottleneck.finetuning.model import predict
from bottleneck.finetuning.prepare import PreparedRun
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.runs.metrics import Metrics, measure

_log = logging.getLogger("bottleneck")

# Largest allowed difference of probabilities. In single precision they agree within 1e-5; half precision has 11
# significant bits, and a network loses a few of them.
_TOLERANCE = {"single": 1e-3, "half": 0.1}


def check_predictions(prepared: PreparedRun, model: Any, data: TrainingData) -> Metrics:
    """Compare the graph's predictions with the head's on the validation split, before training.

    Parameters
    ----------
    prepared : PreparedRun
    model : keras.Model
        From training inputs to logits.
    data : TrainingData

    Returns
    -------
    Metrics
        Validation metrics of the graph.

    Raises
    ------
    BottleneckError
        The predictions differ by more than rounding explains.
    """
    indices = data.indices("val")
    rows = [prepared.split.rows[index] for index in indices]
    features = locate(prepared.cache, [prepared.recipe], rows, prepared.run.classes)
    expected = mean_probabilities(prepared.head, [features], data.classes)
    found = predict(model, data, indices, prepared.settings.batch_size)
    difference = float(np.abs(found - expected).max())
    half = data.cut is not None or "float16" in prepared.recipe.dtype
    half = half or {prepared.settings.precision, prepared.recipe.precision} != {"float32"}
    allowed = _TOLERANCE["half" if half else "single"]
    # written so that NaN is an error too
    if not difference <= allowed:
        raise BottleneckError(
            f"the assembled graph does not give the predictions of {prepared.source}: on {len(rows)} images they "
            f"differ by up to {difference:.2g}, and the limit is {allowed:g}; nothing was trained. Check the cache "
            f"with: bottleneck cache verify {name_of(prepared.cache)}; and fit the head again with: bottleneck fit-head"
        )
    _log.info(
        "The assembled graph gives the head's predictions: on %d images they differ by at most %.1e.",
        *(len(rows), difference),
    )
    return measure(data.y[indices], found)
