"""What to try next with a set of images, and the evidence for it."""

import os
import shlex
from collections import Counter
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
from bottleneck.evaluate.transferability import h_score, logme
from bottleneck.heads.data import label_codes
from bottleneck.heads.probabilities import read_finite
from bottleneck.heads.split import split_rows

# Images looked at. Scores settle well before, and their cost grows with the square of it.
_IMAGES = 2000

# Rules of thumb. Below so many images a class, or in all, a base has many times more parameters to
# unfreeze than there are numbers to tell them by.
_SMALL_CLASS, _SMALL_SET = 100, 2000

# Share of what guessing leaves to be gained that a linear head must reach on the highest tap for the
# pictures to count as similar to those the base was trained on.
_SIMILAR = 0.7

# Folds of the probe: more cost more and change little.
_FOLDS = 3

# Standard errors by which taps must differ to count as different: 95 % of a normal distribution.
_CERTAIN = 1.96


@dataclass(frozen=True)
class TapEvidence:
    """What features of one tap say.

    Attributes
    ----------
    recipe : str
        Its id.
    base, tap : str
    logme, h_score : float
        See `bottleneck.evaluate.transferability`; higher is better.
    accuracy, error : float
        Of a quick linear probe (ridge) in cross-validation, and its standard error.
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
    """What to try next.

    Attributes
    ----------
    images, classes, smallest : int
        Labelled images that are not of the test split, classes, and images of the smallest class.
    looked_at : int
        Images the evidence is from.
    size : {"small", "large"}
    likeness : {"similar", "different"}
        To the pictures the base was trained on.
    guess : float
        Accuracy of always naming the largest class.
    taps : tuple of TapEvidence
        The best first.
    say : str
        What to do and why, in plain words.
    unfreeze_above : str or None
        The tap above which to fine-tune, where that promises something.
    command : str
        To run next.
    weak : tuple of str
        Why the evidence is weak; empty where it is not.
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


def advise(cache: str | os.PathLike[str], *, seed: int = 0) -> Advice:
    """Look at a cache and say what to try next.

    Parameters
    ----------
    cache : path
        The cache's folder. The more taps it holds, the more can be said.
    seed : int
        Of the split, where the data give none, and of the folds.

    Returns
    -------
    Advice

    Raises
    ------
    BottleneckError
        There are no pooled features, or too few images of a class to say anything.

    Notes
    -----
    The four cases, small or large and similar or different, are those of Yosinski et al. 2014, How
    transferable are features in deep neural networks?, as taught since. The test split is not looked at.

    Examples
    --------
    >>> advice = advise(example_cache)
    >>> advice.size, advice.taps[0].tap, len(advice.weak) > 0
    ('small', 'mixed10', True)
    """
    store = FeatureCache(cache)
    # of views only the plain one counts, and maps are for other heads
    recipes = [r for r in store.recipes if r.augmentation == PLAIN and r.pool != "none"]
    if not recipes:
        raise BottleneckError(
            f"{store.name} has no pooled features to judge; make some with: bottleneck extract IMAGES --cache "
            f"{store.name}"
        )
    parts = split_rows(store.listing.ok, seed).parts
    rows = list({row.digest: row for name in ("train", "val") for row in parts[name]}.values())
    counts = Counter(row.label for row in rows)
    smallest = min(counts.values())
    if smallest < _FOLDS:
        few = min(counts, key=lambda label: counts[label])
        raise BottleneckError(
            f"class {few!r} has {smallest} images, and to judge features takes {_FOLDS} of each class or more; "
            "add some, or leave the class out"
        )
    classes = tuple(sorted(label for label in counts if label is not None))
    # digests are as good as random numbers, and the same on every machine
    some = tuple(sorted(rows, key=lambda row: row.digest)[:_IMAGES])
    y = label_codes(some, classes)
    taps, right = [], {}
    for recipe in recipes:
        X = read_finite(locate(store.path, [recipe], some, classes), slice(None))
        right[recipe.id] = _probe(X, y, seed) == y
        taps.append(_evidence(recipe, X, y, right[recipe.id]))
    taps.sort(key=lambda tap: -tap.accuracy)
    return _conclude(
        store,
        tuple(taps),
        right,
        images=len(rows),
        counts=counts,
        looked_at=len(some),
        random=any(recipe.random for recipe in recipes),
    )


def _probe(X: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Guess each image's class from the others', by ridge regression on standardised features."""
    # as strong as the number of features: what standardised features that say nothing call for
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=float(X.shape[1])))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    guessed: NDArray[np.int64] = cross_val_predict(model, X, y, cv=folds)
    return guessed


def _evidence(
    recipe: Recipe, X: NDArray[np.float32], y: NDArray[np.int64], right: NDArray[np.bool_]
) -> TapEvidence:
    accuracy = float(right.mean())
    return TapEvidence(
        recipe=recipe.id,
        base=recipe.base,
        tap=recipe.tap,
        logme=logme(X, y),
        h_score=h_score(X, y),
        accuracy=accuracy,
        error=float(np.sqrt(accuracy * (1 - accuracy) / len(y))),
    )


def _conclude(
    store: FeatureCache,
    taps: tuple[TapEvidence, ...],
    right: dict[str, NDArray[np.bool_]],
    *,
    images: int,
    counts: Counter[str | None],
    looked_at: int,
    random: bool,
) -> Advice:
    best = taps[0]
    of_base = [tap for tap in taps if tap.base == best.base]
    highest = max(of_base, key=lambda tap: _height(tap.base, tap.tap))
    # the highest tap, unless a lower one is better beyond chance: the best of several flatters itself
    chosen = best if _differ(right[best.recipe], right[highest.recipe]) else highest
    guess = max(counts.values()) / images
    gained = (highest.accuracy - guess) / (1 - guess) if guess < 1 else 0.0
    small = images < _SMALL_SET or min(counts.values()) < _SMALL_CLASS
    similar = chosen is highest and gained >= _SIMILAR
    weak = tuple(_doubts(taps, of_base, right, looked_at, random))
    above = None if small and similar else chosen.tap
    say = {
        (
            True,
            True,
        ): "Few pictures, like those the base knows: fit a head and leave the base alone.",
        (True, False): (
            f"Few pictures, unlike those the base knows: fit a head on {chosen.tap}, whose features are more general, "
            "and unfreeze little or nothing."
        ),
        (False, True): (
            f"Many pictures, like those the base knows: fit a head first; unfreezing what lies above {chosen.tap} "
            "or a block below may gain a little more."
        ),
        (False, False): (
            f"Many pictures, unlike those the base knows: fit a head on {chosen.tap} first; unfreezing all that "
            "lies above it promises most."
        ),
    }[small, similar]
    recipe = ["--recipe", chosen.recipe] if len(store.folders) > 1 else []
    command = ["bottleneck", "fit-head", store.name, *recipe, "--head", "logistic"]
    return Advice(
        images=images,
        classes=len(counts),
        smallest=min(counts.values()),
        looked_at=looked_at,
        size="small" if small else "large",
        likeness="similar" if similar else "different",
        guess=guess,
        taps=taps,
        say=say,
        unfreeze_above=above,
        command=shlex.join(command),
        weak=weak,
    )


def _height(base: str, tap: str) -> int:
    """How far up in its base a tap lies; one that is no end of a block counts as the highest."""
    listed = BASES[base].taps if base in BASES else ()
    return listed.index(tap) if tap in listed else len(listed)


def _differ(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether two taps differ beyond chance, by the images only one of them is right about.

    McNemar 1947, in its normal approximation.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return bool(abs(only_one - only_other) > _CERTAIN * np.sqrt(only_one + only_other))


def _doubts(
    taps: tuple[TapEvidence, ...],
    of_base: list[TapEvidence],
    right: dict[str, NDArray[np.bool_]],
    looked_at: int,
    random: bool,
) -> list[str]:
    doubts = []
    if random:
        doubts.append("weights are random: nothing here is about a trained base")
    if len(of_base) == 1:
        doubts.append(
            f"only one tap of {of_base[0].base} is cached; with lower ones (extract --tap, several in one pass) "
            "likeness could be told"
        )
    if _CERTAIN * taps[0].error > 0.05:
        doubts.append(
            f"with {looked_at} images the probe's accuracy is known to ± {_CERTAIN * taps[0].error:.1%} only"
        )
    if len(taps) > 1 and not _differ(right[taps[0].recipe], right[taps[1].recipe]):
        doubts.append(f"{taps[0].tap} and {taps[1].tap} do not differ beyond chance")
    leaders = {
        max(taps, key=lambda tap: tap.logme).recipe,
        max(taps, key=lambda tap: tap.h_score).recipe,
        taps[0].recipe,
    }
    if len(leaders) > 1:
        doubts.append("LogME, H-score and the probe do not agree on the best tap")
    return doubts
