"""`bottleneck compare`: compare heads on cached features, on the same images."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bottleneck.cache.store import FeatureCache
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.checks import check_data
from bottleneck.evaluate.comparison import Comparison
from bottleneck.evaluate.curve import learning_curves
from bottleneck.evaluate.feature_sets import FeatureSet, find_common_images, open_feature_sets
from bottleneck.evaluate.ranking import rank
from bottleneck.evaluate.saved_runs import name_runs, score_run
from bottleneck.evaluate.scoring import Scored, full_path, score_heads
from bottleneck.evaluate.settings import Settings
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.heads.record import digest_data
from bottleneck.heads.registry import HeadKind, find_head
from bottleneck.heads.split import Split, split_rows
from bottleneck.runs.run import Run, read_run, run_folder

# Quick heads of different kinds.
DEFAULT_HEADS = ("logistic", "softmax")

# The k of top-k accuracy: ImageNet results are reported with 5. With few classes it is half of them,
# because a k close to the number of classes is almost always correct.
_TOP_K = 5


def compare(
    caches: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    heads: Sequence[str] = DEFAULT_HEADS,
    *,
    runs: Sequence[str | os.PathLike[str]] = (),
    recipes: Sequence[str] = (),
    top_k: int | None = None,
    learning_curve: bool = False,
    report: str | os.PathLike[str] | None = None,
    seed: int = 0,
    cluster: str | None = None,
    memory: int | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Fit heads on cached features and compare them on the same images.

    Parameters
    ----------
    caches : path or sequence of path
        Folders or URLs of caches. With several, only images that all of them have are used, matched by
        digest; labels and splits are those of the first cache.
    heads : sequence of str
        Heads to fit, with default parameters. May be empty if there are runs.
    runs : sequence of path
        Folders or URLs of saved runs, scored by their ``predictions.csv``. Their validation and test
        images must have the same split and label as here.
    recipes : sequence of str
        Feature sets to compare with each other: ids of recipes or parts of ids. ``A+B`` is one feature
        set, the concatenation of A and B. By default each recipe is one; maps only if there is
        nothing else.
    top_k : int, optional
        The k of top-k accuracy; by default 5, or half of the classes if there are fewer than ten.
    learning_curve : bool
        Also fit on fractions of the training split.
    report : path, optional
        HTML file to write.
    seed : int
        Random seed for the split (if one is created), the heads and the confidence intervals.
    cluster : str, optional
        Cluster that fits the heads, as for `bottleneck.extract`; by default they are fitted in this
        process. Learning curves are always fitted in this process.
    memory : int, optional
        Memory for features, in bytes, as for `bottleneck.fit_head`.
    progress : callable
        Called with the name of the step, how many are done, and how many there are.

    Returns
    -------
    Comparison
        The best entry is chosen by validation accuracy, then by log loss. The test split is measured
        afterwards and never used for a choice.

    Raises
    ------
    BottleneckError
        If a cache cannot be read, its images cannot be split, there is no such head, run or recipe,
        no head could be fitted, or the report cannot be written.

    Examples
    --------
    >>> comparison = compare(example_cache, ["logistic"])
    >>> comparison.best.name, comparison.images
    ('logistic', {'train': 4, 'val': 2})
    >>> comparison.judged_on, comparison.words[-1][:22]
    ('val', 'There is no test split')
    """
    paths = [caches] if isinstance(caches, (str, os.PathLike)) else list(caches)
    kinds = [find_head(name) for name in dict.fromkeys(heads)]
    if not (kinds or runs) or not paths:
        raise BottleneckError(
            "give at least one cache, and one head with --heads or a run with --run"
        )
    _check_report(report)
    # before anything is fitted: a missing run is probably a typing error
    folders = [run_folder(run) for run in _distinct(runs)]
    saved = [(folder, read_run(folder)) for folder in folders]
    stores = [FeatureCache(path) for path in _distinct(paths)]
    listings = [store.listing for store in stores]
    common = find_common_images(stores, listings)
    split = split_rows(common.rows, seed)
    feature_sets = list(open_feature_sets(stores, recipes, split))
    usable = next((features for features in feature_sets if features.data), None)
    if usable is None or usable.data is None:
        raise BottleneckError(f"no features to compare heads on: {feature_sets[0].reason}")
    settings = Settings(split, seed, _choose_k(top_k, len(split.classes)), memory)
    findings = check_data(usable.data, seed, progress)
    warnings = (
        *common.warnings,
        *findings.warnings,
        *_warn_about_random_weights(feature_sets, [run for _, run in saved]),
        *_warn_about_other_images(saved, split),
    )
    findings = replace(findings, warnings=warnings)
    scored = list(_score_heads(feature_sets, kinds, settings, cluster, progress))
    names = name_runs(folders, [one.entry.name for one in scored])
    for name, (folder, run) in zip(names, saved, strict=True):
        entry, probabilities = score_run(name, folder, run, settings, stores[0].name)
        scored.append(Scored(entry, usable, None, probabilities))
    ranked = rank(scored, settings)
    curve = tuple(learning_curves(ranked, settings, progress)) if learning_curve else ()
    comparison = Comparison(
        entries=tuple(one.entry for one in ranked),
        images={name: len(part) for name, part in split.parts.items()},
        left_out=common.left_out,
        classes=split.classes,
        top_k=settings.top_k,
        split=split.kind,
        seed=seed,
        findings=findings,
        curve=curve,
    )
    if report is not None:
        _write_report(Path(report), comparison, ranked[0], listings[0].root, progress)
    return comparison


def _distinct(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    return list({full_path(path): path for path in paths}.values())


def _check_report(report: str | os.PathLike[str] | None) -> None:
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise BottleneckError(
            f"no folder {Path(report).absolute().parent}; give another file with --report"
        )


def _choose_k(top_k: int | None, classes: int) -> int:
    k = top_k or max(1, min(_TOP_K, classes // 2))
    if not 1 <= k <= classes:
        raise BottleneckError(f"--top-k takes a number from 1 to {classes}, not {k}")
    return k


def _warn_about_random_weights(
    feature_sets: Sequence[FeatureSet], runs: Sequence[Run]
) -> Iterator[str]:
    in_features = any(recipe.random for features in feature_sets for recipe in features.recipes)
    if in_features or any(run.random for run in runs):
        yield "A base's weights are RANDOM: its scores say nothing about a trained base."


def _warn_about_other_images(runs: Sequence[tuple[Path, Run]], split: Split) -> Iterator[str]:
    here = digest_data(split.rows)
    others = [str(folder) for folder, run in runs if run.data_digest != here]
    if others:
        yield (
            "Not fitted on exactly these images, which are matched by their paths alone: "
            f"{', '.join(others)}."
        )


def _score_heads(
    feature_sets: Sequence[FeatureSet],
    kinds: Sequence[HeadKind],
    settings: Settings,
    cluster: str | None,
    progress: Progress,
) -> Iterator[Scored]:
    """Fit and score every head on every feature set, and show progress."""
    combinations = list(itertools.product(feature_sets, kinds))
    progress("heads", 0, len(combinations))
    for done, one in enumerate(score_heads(combinations, settings, cluster), 1):
        progress("heads", done, len(combinations))
        yield one


def _write_report(
    file: Path, comparison: Comparison, best: Scored, root: str, progress: Progress
) -> None:
    # imported here: it brings Matplotlib
    from bottleneck.evaluate.report import write_report
    from bottleneck.evaluate.report_data import Best

    if best.features.data is None:  # what a head was fitted on is open
        raise AssertionError(best.entry.name)
    resize = best.features.recipes[0].fit
    write_report(
        file, comparison, Best(best.features.data, best.probabilities, resize), root, progress
    )
