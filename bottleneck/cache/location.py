"""Where a folder's content is at home: the folder itself, or the URL it mirrors."""

import json
from pathlib import Path

# Says of a folder what it mirrors, and what was there; see `bottleneck.cache.mirror`.
STATE = ".remote.json"


def name_of(folder: Path) -> str:
    """Name a place for people: by its URL, or by the folder's path as it was given."""
    try:
        return str(json.loads((folder / STATE).read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(folder)


def location_of(folder: Path) -> str:
    """Say where a place is, from wherever it is asked: a URL, or an absolute path."""
    return name_of(folder.absolute())
