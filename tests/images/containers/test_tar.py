"""A tar file cut short gives what is whole, and says what is not."""

import io
import tarfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.images.containers.tar import Tar
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source

CONTENTS = {f"cat/{n}.jpg": bytes([n]) * (700 * n + 5) for n in range(4)}


def pack() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in CONTENTS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


WHOLE = pack()


@settings(max_examples=60, deadline=None)
@given(length=st.integers(513, len(WHOLE) - 1))
def test_cut_anywhere_each_picture_is_whole_or_has_a_reason(
    length: int, tmp_path_factory: object
) -> None:
    folder = tmp_path_factory.mktemp("cut")  # type: ignore[attr-defined]
    (folder / "a.tar").write_bytes(WHOLE[:length])
    images = read_source(folder / "a.tar")
    place = open_place(images.root)
    for file in images.files:
        name = file.path.removeprefix("a.tar/")
        if file.problem is None:
            assert place.read(file.path) == CONTENTS[name]
    good = sum(file.problem is None for file in images.files)
    there = sum(start + len(CONTENTS[name]) <= length for name, start in starts().items())
    assert good == there
    # cut within the last blocks of zeros, which archives are filled up with, nothing is lost
    end = max(start + -(-len(CONTENTS[name]) // 512) * 512 for name, start in starts().items())
    if length < end + 1024:
        [said] = [file.problem for file in images.files if file.problem]
        assert "cut short" in said or "before this picture does" in said


def starts() -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as archive:
        return {entry.name: entry.offset_data for entry in archive}


def test_a_caption_is_no_label(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in (
            ("1.jpg", b"x"),
            ("1.txt", b"a cat\nand a dog"),
            ("2.jpg", b"y"),
            ("2.cls", b"7"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert [(m.name, m.label) for m in Tar(tmp_path / "a.tar").members()] == [
        ("1.jpg", None),
        ("2.jpg", "7"),
    ]
