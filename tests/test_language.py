"""Phrases that were replaced by plain words do not come back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Banned phrases, with their plain form.
BANNED = {
    "as they were sealed": "intact",
    "cannot be had": "is missing, could not be downloaded",
    "figures will be too good": "scores are optimistic",
    "going on with random": "using random",
    "held back by": "bottleneck:",
    "is no number": "is NaN or infinite",
    "is right about": "its accuracy is",
    "is told": "say who reports what",
    "lies with a confidence": "confidence interval",
    "no difference is shown": "no significant difference",
    "nothing of ours": "without this package",
    "of the split, if one is made": "random seed for the split",
    "of which": "write two sentences",
    "passed over files": "skipped files",
    "pictures?": "image",
    "so it was asked for": "state the condition",
    "the most an?": "maximum",
    "the surest": "most confident",
    "time went to": "time:",
    "to mistrust": "data warnings",
    "which chose the best": "used for model selection",
    "who of a cluster": "worker pool",
    "whoever": "say who",
    "whole numbers of eight bits": "int8",
}

# Rooms and documents that still have some of these phrases. Remove a line when it is clean.
TO_DO = (
    "bottleneck/cache",
    "bottleneck/cli/options.py",
    "bottleneck/extraction",
    "bottleneck/images",
    "bottleneck/remote",
    "bottleneck/runs",
    "docs/cache-format.md",
    "docs/images.md",
    "docs/scale.md",
)

# JSON keys and values that older runs and scripts know.
KEPT = {"bottleneck/serve/card.py", "bottleneck/finetuning/result.py"}


def files() -> Iterator[Path]:
    """Code and documents; CHANGELOG.md is a record and stays as it is."""
    yield from (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    yield from (ROOT / "bottleneck").rglob("*.py")


@pytest.mark.parametrize("phrase", BANNED)
def test_replaced_phrases_do_not_come_back(phrase: str) -> None:
    pattern = re.compile(rf"\b{phrase}(?!\w)".replace(" ", r"\s+"), re.IGNORECASE)
    found = []
    for file in files():
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(TO_DO) or (name in KEPT and phrase == "pictures?"):
            continue
        text = file.read_text(encoding="utf-8")
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}" for m in pattern.finditer(text)]
    assert not found, f"write {BANNED[phrase]!r} in {', '.join(found)}"
