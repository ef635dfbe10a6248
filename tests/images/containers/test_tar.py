"""A tar file cut short gives what is whole, and says what is not."""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.images.containers.tar import Tar
from bottleneck.images.decode import UnreadableImageError
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
        assert "cut short" in said or "before this image does" in said


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


def write_tar(file: Path, members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name) if isinstance(name, str) else name
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


def link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def outcome(file: Path) -> dict[str, bytes | str]:
    """Give the bytes of each image, or the reason why there are none."""
    images = read_source(file)
    place = open_place(images.root)
    found: dict[str, bytes | str] = {}
    for each in images.files:
        name = each.path.removeprefix(f"{file.name}/")
        assert name not in found
        try:
            found[name] = each.problem or place.read(each.path)
        except UnreadableImageError as error:
            found[name] = str(error)
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        ("--format=pax", "--sparse-version=0.0"),
        ("--format=pax", "--sparse-version=0.1"),
        ("--format=pax", "--sparse-version=1.0"),
    ],
    ids=" ".join,
)
def test_sparse_members_and_long_names_have_their_own_bytes(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    top = tmp_path / "pets"
    (top / "cat").mkdir(parents=True)
    expected = {}
    for number in range(3):
        name = f"cat/{number}{'long' * 50}.jpg"
        with (top / name).open("wb") as file:
            for piece in range(7 * number):
                file.seek(piece * 70_000)
                file.write(bytes([number + 1]) * 100)
            file.truncate(600_000)
        expected[name] = (top / name).read_bytes()
    packed = tmp_path / "pets.tar"
    subprocess.run(
        ["tar", "-S", *options, "--sort=name", "-cf", packed, "-C", top, "cat"], check=True
    )
    assert packed.stat().st_size < 300_000
    assert outcome(packed) == expected
    packed.write_bytes(packed.read_bytes()[:-12_000])
    found = outcome(packed)
    assert "cut short" in str(list(found.values())[-1]) or "ends" in str(list(found.values())[-1])
    for name, content in found.items():
        assert isinstance(content, str) or content == expected[name]


def test_every_member_that_is_an_image_by_its_name_is_accounted_for(tmp_path: Path) -> None:
    fifo = tarfile.TarInfo("cat/fifo.png")
    fifo.type = tarfile.FIFOTYPE
    file = write_tar(
        tmp_path / "a.tar",
        [
            ("cat/1.png", b"one"),
            link("cat/hard.png", "cat/1.png", tarfile.LNKTYPE),
            link("dog/soft.png", "../cat/2.png", tarfile.SYMTYPE),
            link("dog/chain.png", "soft.png", tarfile.SYMTYPE),
            ("cat/2.png", b"two"),
            link("cat/outside.png", "/etc/passwd", tarfile.SYMTYPE),
            link("cat/above.png", "../../x.png", tarfile.SYMTYPE),
            link("cat/nowhere.png", "3.png", tarfile.SYMTYPE),
            link("cat/late.png", "cat/4.png", tarfile.LNKTYPE),
            link("cat/loop.png", "loop.png", tarfile.SYMTYPE),
            ("cat/1.png", b"another one"),
            ("cat/4.png", b"four"),
            (fifo, b""),
        ],
    )
    assert outcome(file) == {
        "cat/1 (1).png": "a later member of the archive has the same name",
        "cat/hard.png": b"one",  # as unpacking gives it, though the name was used again
        "dog/soft.png": b"two",
        "dog/chain.png": b"two",
        "cat/2.png": b"two",
        "cat/outside.png": "a link out of the archive: to '/etc/passwd'",
        "cat/above.png": "a link out of the archive: to '../../x.png'",
        "cat/nowhere.png": "a link to '3.png', which the archive does not have",
        "cat/late.png": "a link to 'cat/4.png', which the archive does not have before it",
        "cat/loop.png": "link loop: the link leads back to itself",
        "cat/1.png": b"another one",
        "cat/4.png": b"four",
        "cat/fifo.png": "not a file but a device",
    }


def test_links_have_the_bytes_that_unpacking_gives_them(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "cat").mkdir(parents=True)
    (top / "cat/1.png").write_bytes(b"one")
    (top / "cat/2.png").hardlink_to(top / "cat/1.png")
    (top / "cat/3.png").symlink_to("1.png")
    subprocess.run(["tar", "-cf", tmp_path / "a.tar", "-C", top, "."], check=True)
    assert outcome(tmp_path / "a.tar") == dict.fromkeys(
        ("cat/1.png", "cat/2.png", "cat/3.png"), b"one"
    )


@pytest.mark.parametrize("label", ["[" * 100_000, '{"label": ' + "[" * 100_000])
def test_a_deeply_nested_label_is_no_label_and_ends_nothing(label: str, tmp_path: Path) -> None:
    file = write_tar(
        tmp_path / "a.tar",
        [("1.png", b"x"), ("1.json", label.encode()), ("2.png", b"y"), ("2.cls", b"7")],
    )
    assert [(m.name, m.label) for m in Tar(file).members()] == [("1.png", None), ("2.png", "7")]


@pytest.mark.parametrize(("value", "kind"), [("[1, 2]", "list"), ('{"a": 1}', "table")])
def test_a_json_label_that_is_no_word_or_number_is_a_reason_for_its_image(
    value: str, kind: str, tmp_path: Path
) -> None:
    file = write_tar(
        tmp_path / "a.tar",
        [
            ("1.png", b"x"),
            ("1.json", f'{{"label": {value}}}'.encode()),
            ("2.png", b"y"),
            ("2.json", b'{"label": null}'),
        ],
    )
    first, second = Tar(file).members()
    assert first.problem == f"1.json: a label is a {kind}; expected text or a number for each image"
    assert (second.label, second.problem) == (None, None)


def test_a_member_of_negative_size_ends_the_list_and_nothing_else(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", [("1.png", b"x"), ("2.png", b"y")])
    content = bytearray(file.read_bytes())
    header = tarfile.TarInfo("2.png")
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024, in GNU's form for large numbers
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    content[1024:1536] = block
    file.write_bytes(content)
    found = outcome(file)
    assert found["1.png"] == b"x"
    assert all(isinstance(reason, str) for name, reason in found.items() if name != "1.png")
