"""Learning curves: validation accuracy against the number of training images."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.evaluate.comparison import CurvePoint
from bottleneck.evaluate.intervals import estimate
from bottleneck.evaluate.scoring import Scored, describe_failure, fit
from bottleneck.evaluate.settings import Settings
from bottleneck.extraction.progress import Progress
from bottleneck.heads.data import label_codes
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.registry import complete_params
from bottleneck.heads.split import Split

_log = logging.getLogger("bottleneck")

# Fractions of the training split to fit on; each contains the images of the smaller ones.
_FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


def learning_curves(
    ranked: Sequence[Scored], settings: Settings, progress: Progress
) -> Iterator[CurvePoint]:
    """Fit each head on fractions of the training split, and score it on the validation split.

    Saved runs and heads that failed have no curve. A point whose fit fails is left out with a warning.
    """
    train, val = settings.split.parts["train"], settings.split.parts["val"]
    y_train = label_codes(train, settings.classes)
    subsets = [_subset(y_train, fraction, settings.seed) for fraction in _FRACTIONS]
    subsets = [subset for subset in subsets if len(subset) < len(train)]
    heads = [
        (one.entry, one.features.data, one.kind)
        for one in ranked
        if one.probabilities and one.kind and one.features.data
    ]
    done, total = 0, len(subsets) * len(heads)
    for entry, data, kind in heads:
        for subset in subsets:
            progress("learning curve", done, total)
            done += 1
            rows = np.concatenate([subset, len(train) + np.arange(len(val))])
            parts = {"train": tuple(train[i] for i in subset), "val": val}
            smaller = data.select(Split(settings.split.kind, parts), rows)
            try:
                head, _ = fit(smaller, kind, complete_params(kind, {}), settings)
            except Exception as error:  # a head may raise anything on few images
                _log.warning(
                    "The learning curve of %s has no point at %d images: %s",
                    entry.name,
                    len(subset),
                    describe_failure(error),
                )
                continue
            validated = smaller.plain.take(np.arange(len(subset), len(rows)))
            p = mean_probabilities(head, [validated], len(data.classes))
            y_val = smaller.labels_of("val")
            accuracy = estimate(y_val, [p], settings.top_k, settings.seed)[0]["accuracy"]
            yield CurvePoint(entry.name, len(subset), accuracy)
        yield CurvePoint(entry.name, len(train), entry.scores["val"].figures["accuracy"])
    progress("learning curve", total, total)


def _subset(y: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw a fraction of the images of each class, at least one of each."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.permutation(np.flatnonzero(y == label))[
            : max(1, round(fraction * int((y == label).sum())))
        ]
        for label in np.unique(y)
    ]
    return np.sort(np.concatenate(drawn))
