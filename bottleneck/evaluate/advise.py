"""Advice on what to try next with a set of images, and the evidence for it."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bottleneck.bases.registry import BASES
from bottleneck.cache.features import locate
from bottleneck.cache.recipe import PLAIN, Recipe
from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import LEVEL, percent
from bottleneck.evaluate.pairs import mcnemar
from bottleneck.evaluate.transferability import h_score, logme
from bottleneck.heads.data import label_codes
from bottleneck.heads.probabilities import read_finite
from bottleneck.heads.split import split_rows

# Images examined. Scores are stable with fewer, and their cost grows with the square of the number.
_IMAGES = 2000

# Rules of thumb: with fewer images per class, or in total, a base has many more parameters to unfreeze
# than the images can determine.
_SMALL_CLASS, _SMALL_SET = 100, 2000

# The images count as similar to those the base was trained on if a linear probe on the highest tap closes
# at least this share of the gap between the majority-class baseline and 100 % accuracy.
_SIMILAR = 0.7

# Cross-validation folds of the probe: more take longer and change little.
_FOLDS = 3

# Half-width of a 95 % confidence interval, in standard errors.
_STANDARD_ERRORS = 1.96

# A confidence interval of the probe with a larger half-width is called weak evidence: a rule of thumb.
_WIDE = 0.05


@dataclass(frozen=True)
class TapEvidence:
    """Scores of the features of one tap.

    Attributes
    ----------
    recipe : str
        Id of the recipe.
    base, tap : str
    logme, h_score : float
        See `bottleneck.evaluate.transferability`; higher is better.
    accuracy, error : float
        Cross-validated accuracy of a linear probe (ridge), and its standard error.
    """

    recipe: str
    base: str
    tap: str
    logme: float
    h_score: float
    accuracy: float
    error: float


@dataclass(frozen=True)
class Advice:
    """Advice on what to try next.

    Attributes
    ----------
    images, classes, smallest : int
        Number of labelled images outside the test split, of classes, and of images of the smallest class.
    looked_at : int
        Number of images the evidence is based on.
    size : {"small", "large"}
    likeness : {"similar", "different"}
        Compared with the images the base was trained on.
    guess : float
        Majority-class baseline: accuracy of always predicting the largest class.
    taps : tuple of TapEvidence
        The best first.
    say : str
        What to do and why.
    unfreeze_above : str or None
        The tap above which fine-tuning is likely to help; None if it is not.
    command : str
        The command to run next.
    weak : tuple of str
        Reasons why the evidence is weak; empty if it is not.
    """

    images: int
    classes: int
    smallest: int
    looked_at: int
    size: Literal["small", "large"]
    likeness: Literal["similar", "different"]
    guess: float
    taps: tuple[TapEvidence, ...]
    say: str
    unfreeze_above: str | None
    command: str
    weak: tuple[str, ...]


@dataclass(frozen=True)
class _Probed:
    """Evidence for every tap, and the images it is based on.

    Attributes
    ----------
    taps : tuple of TapEvidence
        The best first.
    correct : dict of str to ndarray of bool
        By recipe, whether the probe predicts each image correctly.
    counts : Counter
        Number of images of each class.
    looked_at : int
        Number of images the evidence is based on.
    random : bool
        Whether a base has random weights.
    """

    taps: tuple[TapEvidence, ...]
    correct: dict[str, NDArray[np.bool_]]
    counts: Counter[str | None]
    looked_at: int
    random: bool

    def differ(self, one: TapEvidence, other: TapEvidence) -> bool:
        """Whether two taps differ significantly."""
        return mcnemar(self.correct[one.recipe], self.correct[other.recipe]).p < LEVEL


def advise(cache: str | os.PathLike[str], *, seed: int = 0) -> Advice:
    """Score the taps in a cache and advise what to try next.

    Parameters
    ----------
    cache : path
        Folder or URL of the cache. More taps give better advice.
    seed : int
        Random seed for the split (if one is created) and the folds.

    Returns
    -------
    Advice

    Raises
    ------
    BottleneckError
        If there are no pooled features, or too few images of a class.

    Notes
    -----
    The four cases, small or large and similar or different, are those of Yosinski et al. 2014, How
    transferable are features in deep neural networks?, as commonly taught. The test split is not used.

    Examples
    --------
    >>> advice = advise(example_cache)
    >>> advice.size, advice.taps[0].tap, len(advice.weak) > 0
    ('small', 'mixed10', True)
    """
    store = FeatureCache(cache)
    # only plain views, and no maps: those are for other heads
    recipes = [r for r in store.recipes if r.augmentation == PLAIN and r.pool != "none"]
    if not recipes:
        raise BottleneckError(
            f"{store.name} has no pooled features to score; extract some with: bottleneck extract IMAGES --cache "
            f"{store.name}"
        )
    parts = split_rows(store.listing.ok, seed).parts
    rows = list({row.digest: row for name in ("train", "val") for row in parts[name]}.values())
    counts = Counter(row.label for row in rows)
    smallest = min(counts.values())
    if smallest < _FOLDS:
        few = min(counts, key=lambda label: counts[label])
        raise BottleneckError(
            f"class {few!r} has {smallest} images; expected at least {_FOLDS} of each class; "
            "add images, or leave the class out"
        )
    classes = tuple(sorted(label for label in counts if label is not None))
    # the order of the digests is as good as random, and the same on every machine
    sample = tuple(sorted(rows, key=lambda row: row.digest)[:_IMAGES])
    y = label_codes(sample, classes)
    taps, correct = [], {}
    for recipe in recipes:
        X = read_finite(locate(store.path, [recipe], sample, classes), slice(None))
        correct[recipe.id] = _probe(X, y, seed) == y
        taps.append(_score_tap(recipe, X, y, correct[recipe.id]))
    taps.sort(key=lambda tap: -tap.accuracy)
    random = any(recipe.random for recipe in recipes)
    return _conclude(store, _Probed(tuple(taps), correct, counts, len(sample), random))


def _probe(X: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Predict each image by cross-validated ridge regression on standardised features."""
    # regularisation as large as the number of features: it suits uninformative standardised features
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=float(X.shape[1])))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    predicted: NDArray[np.int64] = cross_val_predict(model, X, y, cv=folds)
    return predicted


def _score_tap(
    recipe: Recipe, X: NDArray[np.float32], y: NDArray[np.int64], correct: NDArray[np.bool_]
) -> TapEvidence:
    accuracy = float(correct.mean())
    return TapEvidence(
        recipe=recipe.id,
        base=recipe.base,
        tap=recipe.tap,
        logme=logme(X, y),
        h_score=h_score(X, y),
        accuracy=accuracy,
        error=float(np.sqrt(accuracy * (1 - accuracy) / len(y))),
    )


def _conclude(store: FeatureCache, found: _Probed) -> Advice:
    best, counts = found.taps[0], found.counts
    images, smallest = sum(counts.values()), min(counts.values())
    of_base = [tap for tap in found.taps if tap.base == best.base]
    highest = max(of_base, key=lambda tap: _height(tap.base, tap.tap))
    # a lower tap only if it is significantly better: the best score of several is optimistic
    chosen = best if found.differ(best, highest) else highest
    baseline = max(counts.values()) / images
    gain = (highest.accuracy - baseline) / (1 - baseline) if baseline < 1 else 0.0
    small = images < _SMALL_SET or smallest < _SMALL_CLASS
    similar = chosen is highest and gain >= _SIMILAR
    recipe = ["--recipe", chosen.recipe] if len(store.folders) > 1 else []
    command = ["bottleneck", "fit-head", store.name, *recipe, "--head", "logistic"]
    return Advice(
        images=images,
        classes=len(counts),
        smallest=smallest,
        looked_at=found.looked_at,
        size="small" if small else "large",
        likeness="similar" if similar else "different",
        guess=baseline,
        taps=found.taps,
        say=_say(small, similar, chosen.tap),
        unfreeze_above=None if small and similar else chosen.tap,
        command=shlex.join(command),
        weak=tuple(_weaknesses(found, of_base)),
    )


def _say(small: bool, similar: bool, tap: str) -> str:
    size = "Few images" if small else "Many images"
    likeness = "similar to" if similar else "different from"
    advice = {
        (True, True): "fit a head and leave the base frozen.",
        (True, False): (
            f"fit a head on {tap}, whose features are more general, and unfreeze few blocks or none."
        ),
        (False, True): (
            f"fit a head first; unfreezing the blocks above {tap}, or one block more, may help a little."
        ),
        (
            False,
            False,
        ): f"fit a head on {tap} first; unfreezing all blocks above it is most likely to help.",
    }[small, similar]
    return f"{size}, {likeness} those the base was trained on: {advice}"


def _height(base: str, tap: str) -> int:
    """Position of a tap in its base, from low to high; a tap that is not registered counts as highest."""
    listed = BASES[base].taps if base in BASES else ()
    return listed.index(tap) if tap in listed else len(listed)


def _weaknesses(found: _Probed, of_base: list[TapEvidence]) -> Iterator[str]:
    """Give the reasons why the evidence is weak."""
    taps = found.taps
    if found.random:
        yield "the weights are random: this says nothing about a trained base"
    if len(of_base) == 1:
        yield (
            f"only one tap of {of_base[0].base} is cached; lower taps are needed to measure similarity "
            "(extract --tap, several in one pass)"
        )
    margin = _STANDARD_ERRORS * taps[0].error
    if margin > _WIDE:
        yield (
            f"with {found.looked_at} images, the 95 % confidence interval of the probe's accuracy is "
            f"± {percent(margin)}"
        )
    if len(taps) > 1 and not found.differ(taps[0], taps[1]):
        yield f"{taps[0].tap} and {taps[1].tap} do not differ significantly (McNemar, α = {LEVEL:g})"
    leaders = {
        max(taps, key=lambda tap: tap.logme).recipe,
        max(taps, key=lambda tap: tap.h_score).recipe,
        taps[0].recipe,
    }
    if len(leaders) > 1:
        yield "LogME, H-score and the probe disagree on the best tap"
