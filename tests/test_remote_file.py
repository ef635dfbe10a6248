"""An object read as a file: the bytes are the object's, or there is an error."""

import secrets

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.remote import Object, Remote, RemoteError
from bottleneck.remote_file import RemoteFile

SIZES = st.integers(0, 300)


def put_object(content: bytes) -> str:
    """Store an object in memory under a name that no block was kept of."""
    name = f"{secrets.token_hex(8)}.bin"
    MemoryFileSystem().pipe_file(f"/objects/{name}", content)
    return name


@given(SIZES, SIZES, st.integers(1, 64), SIZES, SIZES)
def test_a_read_gives_the_bytes_of_the_object_or_an_error(
    noted: int, there: int, block: int, start: int, length: int
) -> None:
    content = secrets.token_bytes(there)
    file = RemoteFile(Remote("memory://objects"), put_object(content), Object(noted, 1))
    with file.open(buffering=block) as opened:
        opened.seek(start)
        end = min(start + length, noted)
        if start < end and end > there:
            with pytest.raises(RemoteError, match="changed since it was listed"):
                opened.read(length)
        else:
            assert opened.read(length) == content[:noted][start : start + length]


def test_an_object_replaced_by_a_smaller_one_is_an_error_and_no_memory_is_read() -> None:
    name = put_object(b"x" * 1_000)
    file = RemoteFile(Remote("memory://objects"), name, Object(6_000_000, 1))
    message = "expected 6,000,000 bytes from byte 0, found 1,000"
    with file.open() as opened, pytest.raises(RemoteError, match=message):
        opened.read(5_000_000)
