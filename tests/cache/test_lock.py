import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bottleneck.cache.lock import writer_lock
from bottleneck.errors import BottleneckError

HOLD = (
    "import sys, time, pathlib\n"
    "from bottleneck.cache.lock import writer_lock\n"
    "with writer_lock(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)"
)


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "cache"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_who_the_first_is(holder: subprocess.Popen, tmp_path: Path) -> None:
    with (
        pytest.raises(BottleneckError, match=f"process {holder.pid} on .* since .*--cache"),
        writer_lock(tmp_path / "cache"),
    ):
        pass


def test_a_killed_writer_gives_the_cache_back(holder: subprocess.Popen, tmp_path: Path) -> None:
    (tmp_path / "cache" / ".unfinished-1-ab").write_text("half a shard")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with writer_lock(tmp_path / "cache"):
        assert not list((tmp_path / "cache").glob(".unfinished-*"))


def test_nothing_of_it_is_left(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {".writer.lock"}
    with writer_lock(tmp_path):  # and it can be taken again
        pass


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with (
        pytest.raises(BottleneckError, match="cannot write to the cache"),
        writer_lock(tmp_path / "cache"),
    ):
        pass
