"""Phrases that were replaced by plain words do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *(ROOT / "bottleneck").rglob("*.py"),
    *(ROOT / "tests").rglob("*.py"),
]

# Each phrase with its plain form. CHANGELOG.md records what was written then, and is left out.
BANNED = {
    "cannot be had": "is missing; could not be downloaded",
    "whoever": "say who",
    "of which": "two sentences",
    "so it was asked for": "state the condition",
    "is told": "name who says what",
    "the surest": "most confident",
    "to mistrust": "data warnings",
    "no numbers": "infinite or NaN",
    "its figures will be": "its scores are optimistic",
    "is right about": "its accuracy is",
    "goes on after": "continues after",
    "nothing of ours": "without this package",
    "whole numbers of eight bits": "int8",
    "a picture": "an image",
    "lacking": "missing",
}


def occurrences(phrase: str) -> list[str]:
    pattern = re.compile(rf"\b{phrase}\b".replace(" ", r"\s+"), re.IGNORECASE)
    return [
        f"{file.relative_to(ROOT)}:{number}"
        for file in FILES
        if file.name not in {"CHANGELOG.md", "test_language.py"}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("phrase", BANNED)
def test_replaced_phrases_stay_out(phrase: str) -> None:
    found = occurrences(phrase)
    assert not found, f"write {BANNED[phrase]!r} instead of {phrase!r}: {', '.join(found)}"
