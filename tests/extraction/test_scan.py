import hashlib
import os
from pathlib import Path

import pytest

from bottleneck.cache.listing import Listing
from bottleneck.cache.rows import FAILED, OK
from bottleneck.extraction.progress import no_progress
from bottleneck.extraction.scan import scan
from bottleneck.images.source import read_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        file = tmp_path / "images" / f"{name}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"contents of {name}")
        os.utime(file, (1, 1))  # long ago: settled
    return tmp_path / "images"


def look(folder: Path, known: Listing | None = None, retry_failed: bool = False) -> Listing:
    return scan(
        read_source(folder), known, workers=2, retry_failed=retry_failed, progress=no_progress
    )


def test_digests_are_those_of_the_bytes(folder: Path) -> None:
    for row in look(folder).rows:
        assert row.digest == hashlib.sha256((folder / row.path).read_bytes()).hexdigest()


def test_a_file_of_the_same_size_and_time_is_not_read_again(folder: Path) -> None:
    known = look(folder)
    (folder / "a.jpg").write_text("CONTENTS OF A")
    os.utime(folder / "a.jpg", (1, 1))
    assert look(folder, known) == known  # as in git's index: this is the price


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_of_another_size_or_time_is_read_again(folder: Path, change: str) -> None:
    known = look(folder)
    (folder / "a.jpg").write_text("contents of A" + "!" * (change == "size"))
    os.utime(folder / "a.jpg", (1, 1 if change == "size" else 2))
    now = look(folder, known)
    assert now.rows[0].digest != known.rows[0].digest
    assert now.rows[1:] == known.rows[1:]


def test_a_file_changed_a_moment_ago_is_read_again_next_time(folder: Path) -> None:
    (folder / "a.jpg").write_text("first")
    stamp = (folder / "a.jpg").stat().st_mtime_ns
    known = look(folder)
    (folder / "a.jpg").write_text("again")
    os.utime(folder / "a.jpg", ns=(stamp, stamp))  # within the same tick of a coarse clock
    assert look(folder, known).rows[0].digest != known.rows[0].digest


def test_another_set_of_the_same_names_sizes_and_times_is_not_taken_for_this_one(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    other.write_text("CONTENTS OF A")
    os.utime(other, (1, 1))
    digest = look(other.parent, look(folder)).rows[0].digest
    assert digest == hashlib.sha256(b"CONTENTS OF A").hexdigest()


def test_failures_are_remembered_until_the_file_changes_or_a_retry_is_asked_for(
    folder: Path,
) -> None:
    known = look(folder)
    failed = known.rows[0]._replace(status=FAILED, reason="truncated")
    known = Listing(known.root, (failed, *known.rows[1:]))
    assert look(folder, known).rows[0] == failed
    assert look(folder, known, retry_failed=True).rows[0].status == OK
    (folder / "a.jpg").write_text("mended, and longer")
    assert look(folder, known).rows[0].status == OK


def test_a_file_that_could_not_be_read_is_tried_again_every_time(folder: Path) -> None:
    (folder / "d.jpg").symlink_to(folder / "nowhere.jpg")
    known = look(folder)
    assert (known.rows[3].status, known.rows[3].digest) == (FAILED, "")
    assert "broken link" in known.rows[3].reason
    (folder / "nowhere.jpg").write_text("there after all")
    assert look(folder, known).rows[3].status == OK
