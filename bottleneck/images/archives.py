"""Images in containers: the labels and splits of their members."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bottleneck.errors import BottleneckError
from bottleneck.images.class_names import merge_spellings
from bottleneck.images.containers.container import (
    Member,
    is_container,
    open_container,
    stamp_of,
)
from bottleneck.images.folders import Found, label_images
from bottleneck.images.image_set import ImageFile, ImageSet
from bottleneck.images.layout import DEFAULT, LayoutOptions
from bottleneck.images.names import is_junk, split_in
from bottleneck.remote_file import RemoteFile

# Images of a container, and what is worth saying about its layout.
Members = tuple[list[ImageFile], tuple[str, ...]]


def read_containers(
    top: Path, ignored: tuple[str, ...], options: LayoutOptions = DEFAULT
) -> ImageSet:
    """Read all containers in a folder that has no loose image."""
    within = sorted(
        os.path.relpath(os.path.join(folder, name), top)
        for folder, _, names in os.walk(top)
        for name in names
        if is_container(name) and not is_junk(name)
    )
    root = top.resolve()
    files, notes = list_all_members({path: root / path for path in within}, options)
    return ImageSet(str(root), tuple(files), ignored, notes)


def read_container(place: Path, options: LayoutOptions = DEFAULT) -> ImageSet:
    """Read the images of one container."""
    file = place.parent.resolve() / place.name
    files, notes = list_members(file, place.name, options)
    return ImageSet(str(file.parent), tuple(files), notes=notes)


def list_all_members(
    within: Mapping[str, Path | RemoteFile], options: LayoutOptions = DEFAULT
) -> Members:
    """List the images of several containers; one that cannot be read is a failed image of its name."""
    files: list[ImageFile] = []
    # the same of several containers is said once
    notes: dict[str, None] = {}
    refusals: list[BottleneckError] = []
    for path, file in within.items():
        try:
            found, said = list_members(file, path, options)
        except BottleneckError as error:
            refusals.append(error)
            files.append(ImageFile(path, problem=str(error)))
        else:
            files += found
            notes |= dict.fromkeys(said)
    if refusals and len(refusals) == len(within):
        raise refusals[0]
    if len(within) > 1 and options.label_pattern is None:
        files, merged = _merge_across(files)
        notes |= dict.fromkeys(merged)
    return files, tuple(notes)


def _merge_across(files: list[ImageFile]) -> Members:
    names, notes = merge_spellings(Counter(file.label for file in files if file.label is not None))
    changed = any(label != name for label, name in names.items())
    if changed:
        files = [
            file if file.label is None else file._replace(label=names[file.label]) for file in files
        ]
    return files, notes


def list_members(file: Path | RemoteFile, path: str, options: LayoutOptions = DEFAULT) -> Members:
    """List the images of a container, with the labels of the folders they lie in."""
    try:
        stamp = stamp_of(file)
        container = open_container(file)
        members = [each for each in container.members() if not _in_junk(each.name)]
    except OSError as error:
        raise BottleneckError(f"cannot read {file}: {error.strerror or error}") from error
    # what has its label elsewhere lies in no class folder
    placed = [each for each in members if container.folders and each.placed and not each.label]
    found: list[Found] = [
        (each.name, each.name.rpartition("/")[0], each.problem, None) for each in placed
    ]
    labelled, notes = label_images(file, found, options)
    targets = {each.path: (each.label, each.split) for each in labelled}
    of_name = split_in(path)
    files = []
    for member in members:
        label, split = targets.get(member.name, (None, None))
        files.append(_as_image(path, member, label, split or of_name)._replace(stamp=stamp))
    return files, notes


def _as_image(path: str, member: Member, label: str | None, split: str | None) -> ImageFile:
    return ImageFile(
        f"{path}/{member.name}",
        label if member.label is None else member.label,
        member.split or split,
        member.problem,
    )


def _in_junk(name: str) -> bool:
    return any(map(is_junk, name.split("/")[:-1]))
