"""A zip file's members are read one by one, and what cannot be is a reason for it alone."""

import zipfile
from pathlib import Path

import pytest

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
        == "would unpack to 1,342,177,280 bytes; no more than 1,073,741,824 are taken"
    )
    with pytest.raises(UnreadableImageError, match="would unpack"):
        opened.read("1.png")
