"""Rank heads: choose the best on the validation split, then measure every split."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import Scores
from bottleneck.evaluate.intervals import Estimate, estimate
from bottleneck.evaluate.pairs import holm, mcnemar
from bottleneck.evaluate.scoring import Scored
from bottleneck.evaluate.settings import Settings
from bottleneck.heads.data import label_codes

# Stream of random numbers of each split, so that its resamples depend on the seed alone.
_RESAMPLES_OF = {"val": 1, "test": 2}


def rank(scored: Sequence[Scored], settings: Settings) -> list[Scored]:
    """Rank entries by validation accuracy, then by log loss, and add their scores.

    The test split is measured after the ranking.

    Returns
    -------
    list of Scored
        The best first; entries that failed come last.

    Raises
    ------
    BottleneckError
        If every entry failed.
    """
    fitted = [one for one in scored if one.probabilities]
    failed = [one for one in scored if not one.probabilities]
    if not fitted:
        raise BottleneckError(
            f"none of {len(failed)} entries can be compared; the first: {failed[0].entry.reason}"
        )
    metrics = _measure(fitted, "val", settings)
    order = sorted(
        range(len(fitted)),
        key=lambda i: (
            -metrics[i]["accuracy"].value,
            metrics[i]["log_loss"].value,
            fitted[i].entry.name,
        ),
    )
    fitted = [fitted[i] for i in order]
    scores: list[dict[str, Scores]] = [{} for _ in fitted]
    for name, part in settings.split.parts.items():
        if name == "train":
            continue
        y = label_codes(part, settings.classes)
        correct = [one.probabilities[name].argmax(axis=1) == y for one in fitted]
        against = [mcnemar(correct[0], other) for other in correct[1:]]
        corrected = holm([pair.p for pair in against])
        metrics = _measure(fitted, name, settings)
        scores[0][name] = Scores(metrics[0], None, None)
        for i, (pair, p) in enumerate(zip(against, corrected, strict=True), 1):
            scores[i][name] = Scores(metrics[i], pair, p)
    return [
        *(
            replace(one, entry=replace(one.entry, scores=own))
            for one, own in zip(fitted, scores, strict=True)
        ),
        *failed,
    ]


def _measure(scored: Sequence[Scored], name: str, settings: Settings) -> list[dict[str, Estimate]]:
    y = label_codes(settings.split.parts[name], settings.classes)
    sequence = np.random.SeedSequence([settings.seed, _RESAMPLES_OF[name]])
    seed = int(sequence.generate_state(1)[0])
    return estimate(y, [one.probabilities[name] for one in scored], settings.top_k, seed)
