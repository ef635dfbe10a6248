"""Remarks on a layout that was recognised."""

from collections.abc import Collection, Mapping

# Label and split of an image.
Target = tuple[str | None, str | None]

# Names listed in a message before it says how many more there are.
_SHOWN = 3


def report_layout(targets: Mapping[str, Target], counts: Mapping[str, int]) -> list[str]:
    """Say which images have no label although others have one, and which classes train lacks."""
    labelled = {label for label, _ in targets.values() if label is not None}
    bare = {folder: counts[folder] for folder, (label, _) in targets.items() if label is None}
    notes = []
    if labelled and bare:
        where = shorten(sorted(folder or "the source itself" for folder in bare))
        notes.append(
            f"No label for {sum(bare.values()):,} of {sum(counts.values()):,} images, which lie in no class folder: "
            f"{where}"
        )
    train = {label for label, split in targets.values() if split == "train" and label is not None}
    others = {label for label, split in targets.values() if split in {"val", "test"} and label}
    if train and others - train:
        notes.append(f"Classes that train lacks: {shorten(sorted(others - train))}")
    return notes


def shorten(names: Collection[str]) -> str:
    """List the first names, and how many there are."""
    shown = sorted(names)[:_SHOWN]
    more = f" … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more
