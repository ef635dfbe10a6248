"""Containers of any content: no fault without a name, and each member of an archive accounted for.

A longer run by hand: ``FUZZ_EXAMPLES=20000 pytest tests/images/containers/test_fuzz.py``.
"""

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.images.decode import UnreadableImageError, decode
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source
from tests.images.containers import packing

LONG = int(os.environ.get("FUZZ_EXAMPLES", "0"))
steady = settings(
    derandomize=not LONG,
    deadline=None,
    database=None,
    max_examples=LONG or 120,
    suppress_health_check=[HealthCheck.too_slow],
)

# Beyond the few kilobytes that most examples have: the numbers that break readers.
EXTREMES = [
    bytes(4),
    b"\xff" * 4,
    b"\xff" * 8,
    b"\xff\xff\xff\x7f",
    (2**62).to_bytes(8, "little"),
    b"\x80" + bytes(10) + b"\xff",
]


def _pack_all() -> dict[str, bytes]:
    """One small container of each kind. HDF5 is left out: its library ends the process on some damage."""
    with tempfile.TemporaryDirectory() as top:
        folder = packing.plant(Path(top) / "pets")
        out = Path(top) / "out"
        out.mkdir()
        made = {
            "a.zip": packing.into_zip(folder, out / "a.zip"),
            "a.tar": packing.into_tar(folder, out / "a.tar"),
            "b.tar": packing.into_webdataset(folder, out / "w") / "train-000000.tar",
            "a.npz": packing.into_npz(folder, out / "a.npz"),
            "a.parquet": packing.into_parquet(folder, out / "p") / "train-00000-of-00001.parquet",
            "data_batch_1": packing.into_cifar(folder, out / "c") / "data_batch_1",
        }
        return {name: file.read_bytes() for name, file in made.items()}


WHOLE = _pack_all()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A container with some bytes changed, dropped, doubled or cut off."""
    name = draw(st.sampled_from(sorted(WHOLE)))
    content = bytearray(WHOLE[name])
    # headers and directories are at the ends, and pixels, which may be anything, between them
    end = st.integers(0, min(1500, len(content) - 1))
    place = st.one_of(
        end, end.map(lambda n: len(content) - 1 - n), st.integers(0, len(content) - 1)
    )
    for _ in range(draw(st.integers(1, 6))):
        at = max(min(draw(place), len(content) - 1), 0)
        match draw(st.integers(0, 4)):
            case 0:
                content[at] = draw(st.integers(0, 255))
            case 1:
                extreme = draw(st.sampled_from(EXTREMES))
                content[at : at + len(extreme)] = extreme
            case 2:
                del content[at : at + draw(st.integers(1, 600))]
            case 3:
                content[at:at] = content[at : at + draw(st.integers(1, 600))]
            case _:
                del content[max(at, 1) :]
        if not content:
            break
    return name, bytes(content)


def read_all(file: Path) -> dict[str, bytes | str]:
    """Give the bytes of each image of a container, or the reason why there are none."""
    images = read_source(file)
    place = open_place(images.root)
    found: dict[str, bytes | str] = {}
    for each in images.files:
        assert each.path not in found
        try:
            data = found[each.path] = each.problem or place.read(each.path)
            if isinstance(data, bytes):
                decode(data, 8)
        except UnreadableImageError as error:
            found[each.path] = str(error)
    for said in found.values():
        assert isinstance(said, bytes) or (said.isprintable() and said)
    return found


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # Python's own, on a damaged pickle
@steady
@given(made=damaged())
def test_a_damaged_container_is_read_or_refused_in_one_line(
    made: tuple[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
        file = Path(folder) / made[0]
        file.write_bytes(made[1])
        refusal = ""
        try:
            read_all(file)
        except BottleneckError as error:
            refusal = str(error)
        # names of folders are shown as they are
        assert refusal.isprintable() or "--classes-at" in refusal or "--splits" in refusal


# Parts that mean something to a file system, beside ordinary ones.
PARTS = [
    ".",
    "..",
    "",
    "cat",
    "dog",
    "train",
    "val",
    "C:",
    "__MACOSX",
    ".hidden",
    "cafe\u0301",
    "\udcff",
]
NAMES = st.builds(
    lambda parts, slash, last: slash.join([*parts, last]),
    st.lists(st.sampled_from(PARTS), max_size=5),
    st.sampled_from(["/", "//", "\\"]),
    st.sampled_from(["1.png", "2.png", "1.cls", "1.json", "x.tar", "a.txt"]),
)
TYPES = [tarfile.REGTYPE] * 4 + [
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"Q"),
]


def is_shown(name: str) -> bool:
    """Whether a member has to be accounted for: an image by its name, and not hidden."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    # what is dropped by a later ".." may have been hidden, so such names are not asked for
    return parts[-1].endswith(".png") and not {".hidden", "__MACOSX"} & set(parts)


@steady
@given(
    members=st.lists(st.tuples(NAMES, st.sampled_from(TYPES), NAMES), min_size=1, max_size=8),
    data=st.binary(max_size=700),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_every_image_of_a_tar_is_a_row(
    members: list[tuple[str, bytes, str]],
    data: bytes,
    form: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
        file = Path(folder) / "a.tar"
        with tarfile.open(file, "w", format=form, errors="surrogateescape") as archive:
            for name, kind, target in members:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, target
                entry.size = len(data) if entry.isreg() or kind == b"Q" else 0
                archive.addfile(entry, io.BytesIO(data))
        check_rows(file, [name for name, _, _ in members], data)


@steady
@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(names=st.lists(NAMES, min_size=1, max_size=8), data=st.binary(max_size=700))
def test_every_image_of_a_zip_is_a_row(
    names: list[str], data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [name.replace("\udcff", "y") for name in names]  # zip files have UTF-8 only
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
        file = Path(folder) / "a.zip"
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                entry = zipfile.ZipInfo("x")
                entry.filename = name
                archive.writestr(entry, data)
        check_rows(file, names, data)


def check_rows(file: Path, names: list[str], data: bytes) -> None:
    shown = [name for name in names if is_shown(name)]
    refusal = ""
    try:
        images = read_source(file)
    except BottleneckError as error:
        refusal = str(error)
    if refusal:
        # folders with two readings, which an option decides between, or nothing to list
        assert "--classes-at" in refusal or "--splits" in refusal or not shown
        return
    assert len(images.files) >= len(shown)
    assert len({each.path for each in images.files}) == len(images.files)
    place = open_place(images.root)
    for each in images.files:
        if each.problem is None:
            assert place.read(each.path) == data
            assert each.label not in {".", "..", ""}
            assert not {".", ".."} & set(each.path.split("/"))
