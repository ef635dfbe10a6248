"""A zip file's members are read one by one, and what cannot be is a reason for it alone."""

import tracemalloc
import zipfile
from pathlib import Path

import pytest

from bottleneck.errors import BottleneckError
from bottleneck.images.containers.container import open_container
from bottleneck.images.containers.zip import Zip
from bottleneck.images.decode import UnreadableImageError


def test_a_damaged_member_is_a_reason_for_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.jpg", b"first " * 99)
        archive.writestr("2.jpg", b"second " * 99)
    content = bytearray(file.read_bytes())
    content[content.index(b"first") + 9] ^= 1
    file.write_bytes(content)
    opened = Zip(file)
    with pytest.raises(UnreadableImageError, match="damaged in the zip file: Bad CRC-32"):
        opened.read("1.jpg")
    assert opened.read("2.jpg") == b"second " * 99


def test_a_bomb_is_refused_by_the_size_it_says_it_has(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.png", b"small")
        archive.writestr("__MACOSX/._1.png", b"a fork")
    content = bytearray(file.read_bytes())
    # where a zip file's directory gives the size of its first member
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (5 << 28).to_bytes(4, "little")
    file.write_bytes(content)
    opened = Zip(file)
    [member] = opened.members()
    assert (
        member.problem
        == "would unpack to 1,342,177,280 bytes, and the limit is 1,073,741,824; to read it: "
        "BOTTLENECK_MAX_BYTES=1342177280"
    )
    with pytest.raises(UnreadableImageError, match="would unpack"):
        opened.read("1.png")


@pytest.mark.parametrize("cut", [1, 30, 60, 100, 150])
def test_a_cut_zip_does_not_show_what_is_in_the_zip_inside_it(cut: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("cat/inner.png", b"inner")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("dog/1.png", b"one")
        archive.write(tmp_path / "inner.zip", "inner.zip")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[:-cut])
    with pytest.raises(BottleneckError, match=r"a\.zip is not a readable zip file"):
        open_container(tmp_path / "a.zip")


def test_a_zip_file_behind_a_program_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.png", b"one")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(b"#!/bin/sh\nexit 1\n" + content)
    assert open_container(tmp_path / "a.zip").read("1.png") == b"one"


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_never_unpacks_to_more_than_it_says(kind: int, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("1.png", bytes(120 << 20))
    content = bytearray(file.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (5).to_bytes(4, "little")
    file.write_bytes(content)
    opened = Zip(file)
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match="damaged in the zip file"):
        opened.read("1.png")
    assert tracemalloc.get_traced_memory()[1] < 80 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_of_every_compression_are_read_and_checked(kind: int, tmp_path: Path) -> None:
    file, content = tmp_path / "a.zip", bytes(range(256)) * 50
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("1.png", content)
        archive.writestr("2.png", b"")
    assert (Zip(file).read("1.png"), Zip(file).read("2.png")) == (content, b"")
    damaged = bytearray(file.read_bytes())
    place = damaged.index(b"PK\x01\x02") + 16
    damaged[place] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(UnreadableImageError, match="Bad CRC-32"):
        Zip(file).read("1.png")
