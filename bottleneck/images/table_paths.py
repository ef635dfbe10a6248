"""Paths in a table: the files they name, however they are written."""

import functools
import os
import posixpath
import stat
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bottleneck.images.folders import Skipped, walk
from bottleneck.images.names import EXTENSIONS
from bottleneck.images.table_text import recover
from bottleneck.remote import clean_url, is_url, join_url


class Resolved(NamedTuple):
    """A file that a cell of a table names.

    Attributes
    ----------
    path : str
        Relative to the root, or absolute or a URL outside of it.
    exists : bool or None
        None if it lies behind a URL.
    problem : str or None
        Why it is not opened at all.
    searched : bool
        Whether it was found by a part of its path only.
    """

    path: str
    exists: bool | None
    problem: str | None = None
    searched: bool = False


class PathResolver:
    """Finds the files named in a table.

    Parameters
    ----------
    root : str
        The folder or URL that paths start from.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def resolve(self, named: str) -> Resolved:
        r"""Find a file by its path, or by the part of it that is left on this machine.

        Tried in turn are the path, the same in Windows-1252, with ``\`` as ``/``, without what only another machine
        has in front, and with the extension that it lacks.
        """
        if named.strip().lower().startswith("file:"):
            return Resolved(named, True, "file: URLs are not read; expected a path or another URL")
        path = relative_path(named, self._root)
        if is_url(path) or is_url(self._root):
            return Resolved(path, None)
        if os.path.isabs(path) and os.path.splitext(path)[1].lower() not in EXTENSIONS:
            found = self._search(named)
            if found is not None:
                return Resolved(found, True, searched=True)
            # somebody's table may name any file of this machine: it is not even opened
            problem = f"outside {self._root}, and no image by its name; name its folder with --root"
            return Resolved(path, True, problem)
        if self._is_file(path):
            return Resolved(path, True)
        for other in (recover(named), recover(named).replace("\\", "/"), named.strip()):
            again = relative_path(other, self._root)
            if other != named and not is_url(again) and self._is_file(again):
                return self.resolve(other)
        found = self._search(named)
        if found is not None:
            return Resolved(found, True, searched=True)
        return Resolved(path, False)

    def is_image(self, named: str) -> bool:
        """Tell whether a cell names a file that is there."""
        if not named.strip() or "\0" in named:
            return False
        found = self.resolve(named)
        if found.exists is None:
            return os.path.splitext(found.path)[1].lower() in EXTENSIONS
        return found.exists and found.problem is None

    def _is_file(self, path: str) -> bool:
        try:
            found = os.lstat(os.path.join(self._root, path))
        except (OSError, ValueError):
            return False
        return not stat.S_ISDIR(found.st_mode)

    def _search(self, named: str) -> str | None:
        """Find the only file whose path ends as this one does, extension or not."""
        wanted = posixpath.normpath(recover(named).strip().replace("\\", "/")).split("/")
        by_name, by_stem = self._files
        candidates = by_name.get(wanted[-1]) or by_stem.get(wanted[-1]) or []
        if len(candidates) > 1:
            tails = [_common_tail(wanted[:-1], path.split(os.sep)[:-1]) for path in candidates]
            candidates = [
                path for path, tail in zip(candidates, tails, strict=True) if tail == max(tails)
            ]
        return candidates[0] if len(candidates) == 1 else None

    @functools.cached_property
    def _files(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        by_name: dict[str, list[str]] = defaultdict(list)
        by_stem: dict[str, list[str]] = defaultdict(list)
        for path, _, problem, _ in walk(Path(self._root), Skipped()):
            if problem is None:
                name = os.path.basename(path)
                by_name[name].append(path)
                by_stem[os.path.splitext(name)[0]].append(path)
        return dict(by_name), dict(by_stem)


def relative_path(named: str, root: str) -> str:
    """Write a path as one below the root, if it lies there."""
    if is_url(named) or is_url(root):
        path = clean_url(named) if is_url(named) else join_url(root, posixpath.normpath(named))
        return path.removeprefix(f"{root}/")
    path = os.path.normpath(os.path.join(root, named))
    return path[len(str(root)) + 1 :] if path.startswith(f"{root}{os.sep}") else path


def _common_tail(one: list[str], other: list[str]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
