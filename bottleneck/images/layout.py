"""Folder layouts: which label and split the folder of an image stands for.

Everything here works on paths as text, so folders, archives and URLs are read alike.
"""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from bottleneck.errors import BottleneckError
from bottleneck.images.class_names import merge_spellings
from bottleneck.images.layout_report import Target, report_layout, shorten
from bottleneck.images.names import is_generic, is_to_predict, split_of_folder

SplitFolders = Literal["auto", "folders", "none"]

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class LayoutOptions:
    """How the layout of a folder is to be read, if not as recognised.

    Attributes
    ----------
    splits : {"auto", "folders", "none"}
        Whether folders such as train and test are splits: if all folders beside them are too, always (the
        others then belong to no split), or never.
    classes_at : int, optional
        Depth of the class folders below the source, 1 for those directly in it; from the image upwards if negative.
    label_pattern : str, optional
        Regular expression that is searched in the path of each image; its first group is the label.
    labelled : bool
        Whether labels and splits are wanted at all.
    """

    splits: SplitFolders = "auto"
    classes_at: int | None = None
    label_pattern: str | None = None
    labelled: bool = True


DEFAULT = LayoutOptions()


@dataclass(frozen=True)
class Layout:
    """Label and split of each folder, and what is worth saying about them."""

    targets: dict[str, Target]
    notes: tuple[str, ...] = ()


def recognise_layout(
    source: object, counts: Mapping[str, int], options: LayoutOptions = DEFAULT
) -> Layout:
    """Find the label and the split of each folder.

    Parameters
    ----------
    source : path or URL
        The source, for messages.
    counts : mapping of str to int
        How many images lie directly in each folder, by its path below the source; ``""`` is the source itself.
    options : LayoutOptions

    Returns
    -------
    Layout
        With a target for each folder of `counts`.

    Raises
    ------
    BottleneckError
        The layout has two readings, or is not the one that `options` ask for.

    Examples
    --------
    >>> recognise_layout("pets", {"Training/cat": 3, "Training/dog": 2, "test_set/cat": 1}).targets
    {'Training/cat': ('cat', 'train'), 'Training/dog': ('dog', 'train'), 'test_set/cat': ('cat', 'test')}
    """
    parts = {folder: tuple(folder.replace(os.sep, "/").split("/")) for folder in counts if folder}
    if not parts:
        return Layout(dict.fromkeys(counts, (None, None)))
    if options.classes_at is not None:
        targets, notes = _read_at(source, parts, options.classes_at, options.splits)
    else:
        targets, notes = _recognise(source, parts, options.splits)
    targets |= {folder: (None, None) for folder in counts if not folder}
    targets, merged = _merge(targets, counts)
    return Layout(targets, (*notes, *merged, *report_layout(targets, counts)))


def _recognise(
    source: object, parts: Mapping[str, _Parts], mode: SplitFolders
) -> tuple[dict[str, Target], list[str]]:
    outer = _find_wrapper(set(parts.values()), splits=mode != "none")
    rest = {folder: _below(outer, path) for folder, path in parts.items()}
    tops = {path[0] for path in rest.values() if path}
    if mode != "none" and _are_splits(source, tops, rest.values(), mode):
        paths, splits = _part_splits(rest)
        depth = len(outer) + 2
    else:
        paths, splits, depth = rest, dict.fromkeys(parts), len(outer) + 1
        if _are_splits_of_classes(rest.values()):
            splits = {folder: split_of_folder(path[1]) for folder, path in rest.items()}
            paths = {folder: path[:1] for folder, path in rest.items()}
    notes = _check_depth(source, paths.values(), depth)
    labels = {folder: path[0] if path else None for folder, path in paths.items()}
    return {folder: (labels[folder], splits[folder]) for folder in parts}, notes


def _below(outer: _Parts, path: _Parts) -> _Parts:
    return path[len(outer) :] if path[: len(outer)] == outer else ()


def _find_wrapper(folders: Collection[_Parts], *, splits: bool, parent: str = "") -> _Parts:
    """Find the folders that only wrap all others: ``flowers`` in ``flowers/daisy`` and ``flowers/rose``.

    A folder that is the only class is no wrapper, nor is a lone split folder, except one below its own like.
    """
    outer: _Parts = ()
    while folders:
        tops = {path[0] if path else None for path in folders}
        top = tops.pop()
        if tops or top is None:
            break
        split = split_of_folder(top) if splits else None
        # seg_train/seg_train/sea, flowers/flowers/daisy
        doubled = top == parent or (split is not None and split == split_of_folder(parent))
        if split is not None and not doubled:
            break
        below = {path[1:] for path in folders}
        if not (doubled or is_generic(top)):
            again = all(path and path[0] == top for path in below)
            if () in below or (len(below) == 1 and not again):
                break
        outer, folders, parent = (*outer, top), below, top
    return outer


def _are_splits(
    source: object, tops: Collection[str], paths: Collection[_Parts], mode: SplitFolders
) -> bool:
    splits = sorted(top for top in tops if split_of_folder(top))
    others = sorted(top for top in tops if not split_of_folder(top) and not is_to_predict(top))
    if splits and not others:
        return True
    if mode == "folders":
        if not splits:
            raise BottleneckError(
                f"--splits folders: no folder in {source} is named as a split; expected train, val or test, "
                f"found {shorten(others)}"
            )
        return True
    # one folder called "train" among "bus" and "car" is a class; with folders of its own it is not
    nested = [top for top in splits if any(len(path) > 1 and path[0] == top for path in paths)]
    if nested and others:
        raise BottleneckError(
            f"{source} mixes split folders ({', '.join(splits)}) with others ({', '.join(others)}): "
            "expected either class folders only, or only train, val and test above class folders; "
            "--splits folders takes the others as part of no split, --splits none takes all as classes"
        )
    return False


def _part_splits(
    paths: Mapping[str, _Parts],
) -> tuple[dict[str, _Parts], dict[str, str | None]]:
    """Part what lies below split folders, without wrappers such as ``images`` in ``test/images``."""
    tops = {path[0] for path in paths.values() if path}
    inner = {top: {path[1:] for path in paths.values() if path and path[0] == top} for top in tops}
    outer = {top: _find_wrapper(found, splits=True, parent=top) for top, found in inner.items()}
    kept = {path[0] for top in tops if not outer[top] for path in inner[top] if path}
    # what wraps nothing in one split, but is a class of another, is a class
    outer = {
        top: () if found and found[0] in kept and not _names_split(found[0], top) else found
        for top, found in outer.items()
    }
    below = {
        folder: _below(outer[path[0]], path[1:]) if path else () for folder, path in paths.items()
    }
    unlabelled = {folder for folder, path in paths.items() if path and is_to_predict(path[0])}
    below |= dict.fromkeys(unlabelled, ())
    # a class called images that only one split has is no class
    by_top = {top: set[str]() for top in tops if not is_to_predict(top)}
    for folder, path in below.items():
        if path and folder not in unlabelled:
            by_top[paths[folder][0]].add(path[0])
    for folder, path in below.items():
        if path and is_generic(path[0]) and len(by_top) > 1:
            having = [top for top, names in by_top.items() if path[0] in names]
            below[folder] = () if len(having) == 1 else path
    splits = {folder: split_of_folder(path[0]) if path else None for folder, path in paths.items()}
    return below, splits


def _names_split(name: str, parent: str) -> bool:
    return name == parent or split_of_folder(name) is not None


def _are_splits_of_classes(paths: Collection[_Parts]) -> bool:
    """Tell whether split folders lie below class folders: ``cat/train``, ``cat/test``."""
    deep = [path for path in paths if path]
    parts = {(path[0], path[1]) for path in deep if len(path) == 2}
    return (
        bool(deep)
        and all(len(path) == 2 and split_of_folder(path[1]) for path in deep)
        and len(parts) > len({top for top, _ in parts}) > 1
    )


def _check_depth(source: object, paths: Collection[_Parts], depth: int) -> list[str]:
    """Refuse class folders that lie above others which may as well be the classes."""
    tops = {path[0] for path in paths if path}
    direct = {path[0] for path in paths if len(path) == 1}
    below = {(path[0], path[1:]) for path in paths if len(path) > 1}
    several = Counter(top for top, _ in below)
    if several and max(several.values()) > 1 and (not direct or len(tops) == 1):
        deepest = {path[-1] for path in paths if len(path) > 1}
        raise BottleneckError(
            f"{source} has two readings: the classes are {shorten(tops)} (--classes-at {depth}), or the folders "
            f"around the images, {shorten(deepest)} (--classes-at -1)"
        )
    passed = sorted("/".join((top, *rest)) for top, rest in below if not all(map(is_generic, rest)))
    if passed:
        return [
            f"Folders below class folders are not read as classes: {shorten(passed)}; "
            "--classes-at -1 takes the folder around each image"
        ]
    return []


def _read_at(
    source: object, parts: Mapping[str, _Parts], depth: int, mode: SplitFolders
) -> tuple[dict[str, Target], list[str]]:
    def place_in(path: _Parts) -> int | None:
        place = depth - 1 if depth > 0 else len(path) + depth
        return place if depth and 0 <= place < len(path) else None

    places = {folder: place_in(path) for folder, path in parts.items()}
    above = [parts[folder][:place] for folder, place in places.items() if place is not None]
    if not above:
        deepest = max(map(len, parts.values()))
        raise BottleneckError(
            f"--classes-at {depth}: no image in {source} lies at that depth; expected 1 to {deepest}, "
            f"or -1 to -{deepest} from the image upwards"
        )
    # a folder is a split only where all others at its depth are
    shortest = min(map(len, above)) if mode != "none" else 0
    level = next(
        (n for n in range(shortest) if all(split_of_folder(path[n]) for path in above)), None
    )
    targets: dict[str, Target] = {}
    for folder, path in parts.items():
        place = places[folder]
        label = path[place] if place is not None else None
        split = split_of_folder(path[level]) if level is not None and level < len(path) else None
        targets[folder] = (label, split)
    return targets, []


def _merge(
    targets: Mapping[str, Target], counts: Mapping[str, int]
) -> tuple[dict[str, Target], tuple[str, ...]]:
    images: Counter[str] = Counter()
    for folder, (label, _) in targets.items():
        if label is not None:
            images[label] += counts[folder]
    names, notes = merge_spellings(images)
    merged = {
        folder: (None if label is None else names[label], split)
        for folder, (label, split) in targets.items()
    }
    return merged, notes
