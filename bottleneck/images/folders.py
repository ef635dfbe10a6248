"""Folder trees: which images lie in them, and their labels and splits by folder or by name."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.class_names import merge_spellings
from bottleneck.images.image_set import ImageFile, ImageSet
from bottleneck.images.layout import DEFAULT, LayoutOptions, recognise_layout
from bottleneck.images.names import EXTENSIONS, is_junk, split_of_folder
from bottleneck.images.place import Stamp

# An image, or a problem in its place: path, the folder it lies in, problem, stamp. A bare tuple, because
# making one takes a tenth of the time of a class, and there are as many as there are images.
Found = tuple[str, str, str | None, Stamp | None]

# cat.0.png, great_pyrenees_173.jpg, dog (12).jpg: a name, something between, a number.
_NUMBERED = r"([^/]*?[^\W\d])[ ._-]*\(?\d+\)?\.\w+$"

# Fewer images of one name than this are a coincidence.
_FEWEST_OF_A_NAME = 2


@dataclass
class Skipped:
    """Files that a walk did not take for images."""

    extensions: Counter[str] = field(default_factory=Counter)
    tables: list[str] = field(default_factory=list)


def read_folder(top: Path, options: LayoutOptions = DEFAULT) -> tuple[ImageSet, list[str]]:
    """Read a folder of images; also give the tables that lie directly in it."""
    skipped = Skipped()
    found = sorted(walk(top, skipped), key=itemgetter(0))
    files, notes = label_images(top, found, options)
    ignored = tuple(sorted(skipped.extensions))
    return ImageSet(str(top.resolve()), files, ignored, notes), sorted(skipped.tables)


def label_images(
    source: object, found: Sequence[Found], options: LayoutOptions = DEFAULT
) -> tuple[tuple[ImageFile, ...], tuple[str, ...]]:
    """Give images the labels and splits that their paths stand for.

    Returns
    -------
    files : tuple of ImageFile
        One for each of `found`, in their order.
    notes : tuple of str
        What is worth saying about the layout.
    """
    if not options.labelled:
        return tuple(
            ImageFile(path, None, None, problem, stamp) for path, _, problem, stamp in found
        ), ()
    if options.label_pattern is not None:
        return _label_by_pattern(source, found, options)
    counts = Counter(map(itemgetter(1), found))
    layout = recognise_layout(source, counts, options)
    # looked up once for each folder, not for each of its images
    targets = layout.targets
    fields = ((path, *targets[folder], problem, stamp) for path, folder, problem, stamp in found)
    # ImageFile(*fields) does this too, and takes three times as long
    files = tuple(map(tuple.__new__, itertools.repeat(ImageFile), fields))
    notes = layout.notes
    if not any(label for label, _ in targets.values()):
        notes += _propose_pattern([path for path, *_ in found])
    return files, notes


def _label_by_pattern(
    source: object, found: Sequence[Found], options: LayoutOptions
) -> tuple[tuple[ImageFile, ...], tuple[str, ...]]:
    try:
        pattern = re.compile(options.label_pattern or "")
    except re.error as error:
        raise BottleneckError(
            f"--label-pattern {options.label_pattern!r} is not a regular expression: {error}"
        ) from error
    if pattern.groups == 0:
        raise BottleneckError(
            f"--label-pattern {options.label_pattern!r} has no group; put the label in parentheses, as in '^([a-z]+)'"
        )
    matches = [pattern.search(path.replace(os.sep, "/")) for path, *_ in found]
    labels = [match[1] if match and match[1] else None for match in matches]
    if found and not any(labels):
        raise BottleneckError(
            f"--label-pattern {options.label_pattern!r} matches no image in {source}, the first is {found[0][0]!r}"
        )
    names, notes = merge_spellings(Counter(label for label in labels if label))
    files = [
        ImageFile(
            path, names[label] if label else None, _split_above(path, options), problem, stamp
        )
        for (path, _, problem, stamp), label in zip(found, labels, strict=True)
    ]
    unmatched = [file.path for file in files if file.label is None]
    if unmatched:
        notes = (
            *notes,
            f"No label for {len(unmatched):,} of {len(files):,} images, which --label-pattern does not match, the "
            f"first {unmatched[0]!r}",
        )
    return tuple(files), notes


def _split_above(path: str, options: LayoutOptions) -> str | None:
    if options.splits == "none":
        return None
    folders = path.replace(os.sep, "/").split("/")[:-1]
    return next(filter(None, map(split_of_folder, folders)), None)


def _propose_pattern(paths: Sequence[str]) -> tuple[str, ...]:
    """Propose a pattern if the names of unlabelled images begin with what looks like classes."""
    matches = (re.search(_NUMBERED, path.replace(os.sep, "/")) for path in paths)
    names = Counter(match[1] for match in matches if match)
    usual = {name: count for name, count in names.items() if count >= _FEWEST_OF_A_NAME}
    if len(usual) < 2 or 2 * sum(usual.values()) < len(paths):
        return ()
    shown = ", ".join(f"{name} ({count:,})" for name, count in names.most_common(3))
    return (
        f"The images have no labels, but their names begin with {len(names)} words: {shown}; "
        f"to read these as classes add --label-pattern '{_NUMBERED}'",
    )


def walk(top: Path, skipped: Skipped) -> Iterator[Found]:
    """Yield every image below `top`, following links once, and note the files that are none."""
    # Each pending folder carries the folders it lies in: a link back to one of them is a loop.
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        folder, above = pending.pop()
        outer = folder.rpartition(os.sep)[0]
        try:
            here = os.stat(top / folder)
            key = (here.st_dev, here.st_ino)
            if key in above:
                problem = "link loop: it leads back to a folder that contains it"
                yield folder, outer, problem, None
                continue
            children = list(os.scandir(top / folder))
        except OSError as error:
            if not folder:
                raise BottleneckError(f"cannot open the folder {top}: {error.strerror}") from error
            yield folder, outer, f"cannot open this folder: {error.strerror}", None
            continue
        for child in children:
            name = child.name
            if is_junk(name):
                continue  # .DS_Store, ._image.jpg, .ipynb_checkpoints, __MACOSX, Thumbs.db
            path = f"{folder}{os.sep}{name}" if folder else name
            try:
                is_folder = child.is_dir()
            except OSError:
                is_folder = False  # a link that leads nowhere: reading it will say how
            if is_folder:
                pending.append((path, above | {key}))
            elif name[name.rfind(".") :] in EXTENSIONS or has_image_extension(path, skipped):
                try:
                    # here, where the path need not be put together again for each
                    seen = child.stat()
                except OSError:
                    yield path, folder, None, None
                else:
                    yield path, folder, None, (seen.st_size, seen.st_mtime_ns)


def has_image_extension(path: str, skipped: Skipped) -> bool:
    """Tell by its extension whether a file is an image; note it if it is none."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in EXTENSIONS:
        skipped.extensions[suffix or "(none)"] += 1
        if suffix in {".csv", ".tsv"} and os.sep not in path:
            skipped.tables.append(path)
    return suffix in EXTENSIONS
