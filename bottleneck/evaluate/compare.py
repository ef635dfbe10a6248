"""`bottleneck compare`: heads on cached features, on the same images."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located, locate
from bottleneck.cache.listing import Listing
from bottleneck.cache.mirror import local_folder
from bottleneck.cache.recipe import Recipe, RecipeFile
from bottleneck.cache.rows import Row
from bottleneck.cache.store import FeatureCache, find_views
from bottleneck.errors import BottleneckError
from bottleneck.evaluate.comparison import Comparison, Costs, CurvePoint, Entry, Scores
from bottleneck.evaluate.earlier import judge_run, name_runs
from bottleneck.evaluate.guards import examine, refuse_non_finite
from bottleneck.evaluate.intervals import Estimate, estimate
from bottleneck.evaluate.pairs import holm, mcnemar
from bottleneck.extraction.cluster import connect, joblib_on
from bottleneck.extraction.progress import Progress, no_progress
from bottleneck.heads.contract import Head
from bottleneck.heads.data import LabelledFeatures, label_codes, read_samples, split_slices
from bottleneck.heads.probabilities import mean_probabilities
from bottleneck.heads.record import digest_data
from bottleneck.heads.registry import HeadKind, complete_params, find_head
from bottleneck.heads.scaling import slices
from bottleneck.heads.split import Split, split_rows
from bottleneck.remote import is_url
from bottleneck.runs.run import Run, read_run, run_folder

# Quick, and they differ in kind.
DEFAULT_HEADS = ("logistic", "softmax")

# k of top-k accuracy: what ImageNet's classes are reported by. Where there are few classes, half of
# them, for a k near their number is always right.
_TOP_K = 5

# Shares of the training split that a learning curve is fitted on; each holds the images of those before.
_CURVE = (1 / 16, 1 / 8, 1 / 4, 1 / 2)

# Independent draws from one seed: which resamples a split gets depends on it alone.
_RESAMPLES_OF = {"val": 1, "test": 2}


@dataclass(frozen=True)
class Source:
    """Features that heads are fitted on.

    Attributes
    ----------
    name : str
        Tells it from the others; empty where there is one only.
    cache : str
    recipes : tuple of Recipe
    views : tuple of Located
        Of the images of all splits, one after the other; the plain view first. Empty where they
        cannot be used.
    reason : str
        Why they cannot.
    """

    name: str
    cache: str
    recipes: tuple[Recipe, ...]
    views: tuple[Located, ...]
    reason: str


@dataclass(frozen=True)
class Judged:
    """An entry and what it says of images.

    Attributes
    ----------
    entry : Entry
    source : Source
        What the head was fitted on; of a run, the features that stand for its own in a map.
    kind : HeadKind or None
        None where a run was fitted before.
    probabilities : dict of str to ndarray of float32, shape (n, classes)
        By split; empty where the head failed.
    """

    entry: Entry
    source: Source
    kind: HeadKind | None
    probabilities: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


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
        Folders of caches. Of several, the images that all of them have are taken, told by their
        digests; labels and splits are those of the first.
    heads : sequence of str
        What to fit, with default parameters. None at all is enough where there are runs.
    runs : sequence of path
        Folders of runs fitted before, to be judged by the predictions they left. Their images in val
        and test have to be in the same split, under the same label, as here.
    recipes : sequence of str
        Which features: parts of ids; ``A+B`` puts those of two side by side. By default those of
        each recipe there is; maps only where there is nothing else.
    top_k : int, optional
        Of the top-k accuracy; by default 5, or half of the classes where they are fewer than ten.
    learning_curve : bool
        Also fit on parts of the training split.
    report : path, optional
        An HTML file to write.
    seed : int
        Of the split, where the data give none, of the heads, and of the intervals.
    cluster : str, optional
        Where the heads are fitted, if not in this process, as for `bottleneck.extract`. Learning curves
        are fitted here.
    memory : int, optional
        Bytes that features may take in memory, as for `bottleneck.fit_head`.
    progress : callable
        Called with the step's name, how many are done, and how many there are.

    Returns
    -------
    Comparison
        The best is chosen by accuracy on the validation split, then by log loss. The test split is
        measured after that and chooses nothing.

    Raises
    ------
    BottleneckError
        A cache cannot be read or its images cannot be split, there is no such head, run or recipe,
        none of the heads could be fitted, or the report cannot be written.

    Examples
    --------
    >>> comparison = compare(example_cache, ["logistic"])
    >>> comparison.best.name, comparison.images
    ('logistic', {'train': 4, 'val': 2})
    >>> comparison.judged_on, comparison.words[-1][:27]
    ('val', 'There is no test split: the')
    """
    paths = [caches] if isinstance(caches, (str, os.PathLike)) else list(caches)
    kinds = [find_head(name) for name in dict.fromkeys(heads)]
    if not (kinds or runs) or not paths:
        raise BottleneckError(
            "give at least one cache, and one head with --heads or a run with --run"
        )
    if report is not None and not Path(report).absolute().parent.is_dir():
        raise BottleneckError(
            f"no folder {Path(report).absolute().parent}; give another file with --report"
        )
    # before anything is fitted: one that is not there is a slip of the pen
    folders = [run_folder(run) for run in _distinct(runs)]
    earlier = [(folder, read_run(folder)) for folder in folders]
    stores = [FeatureCache(path) for path in _distinct(paths)]
    listings = [store.listing for store in stores]
    rows, left_out, changed = _common_rows(stores, listings)
    split = split_rows(rows, seed)
    sources = list(_open_sources(stores, recipes, split))
    usable = next((source for source in sources if source.views), None)
    if usable is None:
        raise BottleneckError(f"no features to compare heads on: {sources[0].reason}")
    classes = usable.views[0].classes
    findings = examine(usable.views[0], split, classes, seed, progress)
    warnings = (
        *changed,
        *findings.warnings,
        *_about_bases(sources, [run for _, run in earlier]),
        *_about_images(earlier, split),
    )
    findings = replace(findings, warnings=warnings)
    combinations = list(itertools.product(sources, kinds))
    progress("heads", 0, len(combinations))
    judged = []
    for one in _judge_each(combinations, split, classes, seed, memory, cluster):
        judged.append(one)
        progress("heads", len(judged), len(combinations))
    names = name_runs([folder for folder, _ in earlier], [one.entry.name for one in judged])
    for name, (folder, run) in zip(names, earlier, strict=True):
        entry, told = judge_run(name, folder, run, split, classes, seed, stores[0].name)
        judged.append(Judged(entry, usable, None, told))
    k = top_k or max(1, min(_TOP_K, len(classes) // 2))
    if not 1 <= k <= len(classes):
        raise BottleneckError(f"--top-k takes a number from 1 to {len(classes)}, not {k}")
    ordered = _score(judged, split, classes, k, seed)
    comparison = Comparison(
        entries=tuple(one.entry for one in ordered),
        images={name: len(part) for name, part in split.parts.items()},
        left_out=left_out,
        classes=classes,
        top_k=k,
        split=split.kind,
        seed=seed,
        findings=findings,
        curve=tuple(_curve(ordered, split, classes, k, seed, memory, progress))
        if learning_curve
        else (),
    )
    if report is not None:
        from bottleneck.evaluate.report import write_report

        best = ordered[0]
        write_report(
            Path(report),
            comparison,
            best.source.views,
            best.probabilities,
            best.source.recipes[0].fit,
            split,
            listings[0].root,
            progress,
        )
    return comparison


def _distinct(paths: Iterable[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    return list({_from_anywhere(path): path for path in paths}.values())


def _common_rows(
    stores: Sequence[FeatureCache], listings: Sequence[Listing]
) -> tuple[list[Row], dict[str, int], list[str]]:
    """Give the images that all caches have, how many others each has, and what they disagree on."""
    labelled = [[row for row in listing.ok if row.label is not None] for listing in listings]
    common = set.intersection(*({row.digest for row in rows} for rows in labelled))
    left_out = {
        store.name: sum(row.digest not in common for row in rows)
        for store, rows in zip(stores, labelled, strict=True)
    }
    if not common:
        raise BottleneckError(
            f"the caches have no labelled image in common: {', '.join(map(str, left_out))}; "
            "compare caches of the same images"
        )
    kept = [row for row in labelled[0] if row.digest in common]
    known = {row.digest: (row.label, row.split) for row in kept}
    changed = []
    for store, rows in zip(stores[1:], labelled[1:], strict=True):
        other = sum(known.get(row.digest, row[2:4]) != (row.label, row.split) for row in rows)
        if other:
            changed.append(
                f"{other} images have another label or split in {store.name}: "
                f"those of {stores[0].name} are taken."
            )
    return kept, left_out, changed


def _open_sources(
    stores: Sequence[FeatureCache], recipes: Sequence[str], split: Split
) -> Iterator[Source]:
    wanted = []
    for store in stores:
        names = recipes or [entry.recipe.id for entry in store.unnamed]
        for name in names:
            try:
                wanted.append((store, store.find_recipes(recipes=name.split("+"))))
            except BottleneckError:
                # one of the caches must have it
                if len(stores) == 1 or not any(_has(other, name) for other in stores):
                    raise
    if not wanted:
        raise BottleneckError(
            f"{stores[0].name} has no features yet; run: bottleneck extract IMAGES --cache {stores[0].name}"
        )
    names = _names([(store.path, [e.recipe.id for e in entries]) for store, entries in wanted])
    for (store, entries), name in zip(wanted, names, strict=True):
        yield _open_source(store, entries, name, split)


def _has(store: FeatureCache, name: str) -> bool:
    try:
        return bool(store.find_recipes(recipes=name.split("+")))
    except BottleneckError:
        return False


def _names(sources: Sequence[tuple[Path, list[str]]]) -> list[str]:
    """Name features as shortly as tells them apart."""
    if len(sources) == 1:
        return [""]
    bare = ["+".join(name.rpartition("-")[0] for name in ids) for _, ids in sources]
    placed = [f"{path.name}/{name}" for (path, _), name in zip(sources, bare, strict=True)]
    for names in (bare, placed):
        if len(set(names)) == len(names):
            return names
    return [f"{path}/{'+'.join(ids)}" for path, ids in sources]


def _open_source(
    store: FeatureCache, entries: Sequence[RecipeFile], name: str, split: Split
) -> Source:
    recipes = tuple(entry.recipe for entry in entries)
    views = find_views(entries, "all")
    try:
        located = locate(store.path, recipes, split.rows, split.classes, views)
        refuse_non_finite(located)
    except BottleneckError as error:
        return Source(name, store.name, recipes, (), str(error))
    return Source(name, store.name, recipes, located.by_view(len(views)), "")


def _about_bases(sources: Sequence[Source], runs: Sequence[Run]) -> Iterator[str]:
    of_sources = any(recipe.random for source in sources for recipe in source.recipes)
    if of_sources or any(run.random for run in runs):
        yield "A base's weights are RANDOM: its figures say nothing of a trained base."


def _about_images(runs: Sequence[tuple[Path, Run]], split: Split) -> Iterator[str]:
    here = digest_data(split.rows)
    others = [str(folder) for folder, run in runs if run.data_digest != here]
    if others:
        yield (
            f"Not fitted on exactly these images, which are told by their paths alone: {', '.join(others)}."
        )


class _Timed:
    """A head whose time to predict is taken."""

    def __init__(self, head: Head) -> None:
        self.head, self.seconds = head, 0.0

    @property
    def chosen(self) -> Mapping[str, Any]:
        return self.head.chosen

    def predict_proba(self, X: NDArray[np.float32], /) -> NDArray[np.float32]:
        start = time.perf_counter()
        probabilities = self.head.predict_proba(X)
        self.seconds += time.perf_counter() - start
        return probabilities

    def save(self, folder: Path, /) -> None:
        self.head.save(folder)


def _judge_each(
    combinations: Sequence[tuple[Source, HeadKind]],
    split: Split,
    classes: Sequence[str],
    seed: int,
    memory: int | None,
    cluster: str | None,
) -> Iterator[Judged]:
    """Fit and judge heads, here or on a cluster, in order."""
    if cluster is None:
        for source, kind in combinations:
            yield _judge(source, kind, split, classes, seed, memory)
        return
    from joblib import Parallel, delayed

    with connect(cluster) as workers, contextlib.ExitStack() as stack:
        places = {source.cache: _from_anywhere(source.cache) for source, _ in combinations}
        for place in sorted(places.values()):
            stack.enter_context(joblib_on(workers, place))
        found = Parallel(n_jobs=-1, return_as="generator")(
            delayed(_judge_afar)(
                # opened shards stay here
                replace(source, cache=places[source.cache], views=()),
                len(source.views),
                *(kind, split, classes, seed, memory),
            )
            for source, kind in combinations
        )
        for (source, kind), (entry, probabilities) in zip(combinations, found, strict=True):
            yield Judged(replace(entry, cache=source.cache), source, kind, probabilities)


def _from_anywhere(cache: str | os.PathLike[str]) -> str:
    return str(cache if is_url(cache) else Path(cache).absolute())


def _judge_afar(
    source: Source,
    views: int,
    kind: HeadKind,
    split: Split,
    classes: Sequence[str],
    seed: int,
    memory: int | None,
) -> tuple[Entry, Mapping[str, NDArray[np.float32]]]:
    """Do so on a worker, which opens the shards itself."""
    if views:
        # a cache behind a URL is read through the mirror of the machine we are on
        cache = local_folder(source.cache)
        located = locate(cache, source.recipes, split.rows, split.classes, range(views))
        source = replace(source, views=located.by_view(views))
    judged = _judge(source, kind, split, classes, seed, memory)
    return judged.entry, judged.probabilities


def _judge(
    source: Source,
    kind: HeadKind,
    split: Split,
    classes: Sequence[str],
    seed: int,
    memory: int | None,
) -> Judged:
    entry = Entry(
        name=f"{kind.name} on {source.name}" if source.name else kind.name,
        head=kind.name,
        cache=source.cache,
        recipes=tuple(recipe.id for recipe in source.recipes),
        params={},
        scores={},
        costs=None,
        reason=source.reason,
    )
    if source.reason:
        return Judged(entry, source, kind)
    params = complete_params(kind, {})
    try:
        head, seconds = _fit(source.views, kind, split, len(classes), seed, memory, params)
        places = {name: part for name, part in split_slices(split).items() if name != "train"}
        first = min(part.start for part in places.values())
        measured = source.views[0].take(np.arange(first, len(source.views[0].rows)))
        # once without looking at the clock: Keras compiles a function for each number of images
        some = np.arange(len(measured.rows))[next(slices(len(measured.rows), measured.shape))]
        mean_probabilities(head, [measured.take(some)], len(classes))
        timed = _Timed(head)
        probabilities = mean_probabilities(timed, [measured], len(classes))
        if not np.isfinite(probabilities).all():
            raise BottleneckError("its probabilities are not all finite numbers")  # noqa: TRY301
        costs = Costs(
            round(seconds, 3), round(1e6 * timed.seconds / len(measured.rows), 2), _size(head)
        )
    except Exception as error:
        # whatever it is, the other heads can be compared all the same
        said = " ".join(str(error).split())
        known = isinstance(error, BottleneckError)
        reason = said if known else f"unexpected {type(error).__name__}: {said}"
        return Judged(replace(entry, params=params, reason=reason), source, kind)
    return Judged(
        replace(entry, params={**params, "chosen": dict(head.chosen)}, costs=costs),
        source,
        kind,
        {
            name: probabilities[part.start - first : part.stop - first]
            for name, part in places.items()
        },
    )


def _fit(
    views: Sequence[Located],
    kind: HeadKind,
    split: Split,
    classes: int,
    seed: int,
    memory: int | None,
    params: Mapping[str, Any],
) -> tuple[Head, float]:
    kind.check_shape(views[0].shape)
    with (
        tempfile.TemporaryDirectory(prefix="bottleneck-") as folder,
        read_samples(kind, LabelledFeatures(tuple(views), split), memory, Path(folder)) as (
            train,
            val,
        ),
    ):
        start = time.perf_counter()
        head = kind.fit(train, val, classes, seed, params)
        return head, time.perf_counter() - start


def _size(head: Head) -> int:
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as folder:
        head.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _score(
    judged: Sequence[Judged], split: Split, classes: Sequence[str], k: int, seed: int
) -> list[Judged]:
    """Choose the best on val, and only then measure test."""
    fitted = [one for one in judged if one.probabilities]
    failed = [one for one in judged if not one.probabilities]
    if not fitted:
        raise BottleneckError(
            f"none of {len(failed)} entries can be compared; the first: {failed[0].entry.reason}"
        )
    figures = _figures(fitted, "val", split, classes, k, seed)
    order = sorted(
        range(len(fitted)),
        key=lambda place: (
            -figures[place]["accuracy"].value,
            figures[place]["log_loss"].value,
            fitted[place].entry.name,
        ),
    )
    fitted = [fitted[place] for place in order]
    scores: list[dict[str, Scores]] = [{} for _ in fitted]
    for name in split.parts:
        if name == "train":
            continue
        y = label_codes(split.parts[name], classes)
        right = [one.probabilities[name].argmax(axis=1) == y for one in fitted]
        against = [mcnemar(right[0], other) for other in right[1:]]
        corrected = holm([pair.p for pair in against])
        figures = _figures(fitted, name, split, classes, k, seed)
        scores[0][name] = Scores(figures[0], None, None)
        for place, (pair, p) in enumerate(zip(against, corrected, strict=True), 1):
            scores[place][name] = Scores(figures[place], pair, p)
    return [
        *(
            replace(one, entry=replace(one.entry, scores=own))
            for one, own in zip(fitted, scores, strict=True)
        ),
        *failed,
    ]


def _figures(
    judged: Sequence[Judged], name: str, split: Split, classes: Sequence[str], k: int, seed: int
) -> list[dict[str, Estimate]]:
    y = label_codes(split.parts[name], classes)
    own = int(np.random.SeedSequence([seed, _RESAMPLES_OF[name]]).generate_state(1)[0])
    return estimate(y, [one.probabilities[name] for one in judged], k, own)


def _curve(
    judged: Sequence[Judged],
    split: Split,
    classes: Sequence[str],
    k: int,
    seed: int,
    memory: int | None,
    progress: Progress,
) -> Iterator[CurvePoint]:
    fitted = [(one.entry, one.source, one.kind) for one in judged if one.probabilities and one.kind]
    train, val = split.parts["train"], split.parts["val"]
    y_val = label_codes(val, classes)
    parts = [_part(label_codes(train, classes), share, seed) for share in _CURVE]
    parts = [part for part in parts if len(part) < len(train)]
    done, total = 0, len(parts) * len(fitted)
    for entry, source, kind in fitted:
        for taken in parts:
            progress("learning curve", done, total)
            done += 1
            places = np.concatenate([taken, len(train) + np.arange(len(val))])
            smaller = Split(split.kind, {"train": tuple(train[i] for i in taken), "val": val})
            views = [view.take(places) for view in source.views]
            params = complete_params(kind, {})
            try:
                head, _ = _fit(views, kind, smaller, len(classes), seed, memory, params)
            except Exception:  # too few images for this head: its curve starts later
                continue
            seen = views[0].take(np.arange(len(taken), len(places)))
            p = mean_probabilities(head, [seen], len(classes))
            accuracy = estimate(y_val, [p], k, seed)[0]["accuracy"]
            yield CurvePoint(entry.name, len(taken), accuracy)
        whole = entry.scores["val"].figures["accuracy"]
        yield CurvePoint(entry.name, len(train), whole)
    progress("learning curve", total, total)


def _part(y: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Take a share of each class, and at least one image of it."""
    rng = np.random.default_rng(seed)
    taken = [
        rng.permutation(np.flatnonzero(y == label))[
            : max(1, round(share * int((y == label).sum())))
        ]
        for label in np.unique(y)
    ]
    return np.sort(np.concatenate(taken))
