import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bottleneck.cache.atomic import new_folder, remove_unfinished, write_atomically, write_output


def test_a_file_replaces_the_one_before_in_one_piece(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"before")
    write_atomically(file, b"after")
    assert file.read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_there_is_no_room_the_old_file_stays_and_nothing_is_left_over(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"before")
    code = (
        "import resource, signal, sys, pathlib\n"
        "from bottleneck.cache.atomic import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(pathlib.Path(sys.argv[1]), b'x' * 2000)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, check=False
    )
    assert "BottleneckError: no room to write 2,000 bytes" in process.stderr
    assert "run the same command again" in process.stderr
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_faults_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no such folder" / "file", b"")


def test_only_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-1-abcd").touch()
    (tmp_path / "shard.h5").touch()
    (tmp_path / ".hidden").touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "shard.h5"]


def test_a_folder_of_a_killed_process_is_cleared_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from bottleneck.cache.atomic import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1]), 'a run', '') as folder:\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        for name in ("killed", "living")
    ]
    folders = [Path(process.stdout.readline().strip()) for process in started if process.stdout]
    started[0].send_signal(signal.SIGKILL)
    started[0].wait()
    for folder in folders:
        os.utime(folder, (0, time.time() - 3600))
    with new_folder(tmp_path / "next", "a run", ""):
        assert [folder.exists() for folder in folders] == [False, True]
    started[1].kill()
    started[1].wait()


def test_an_output_that_finds_no_room_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(b"before")
    code = (
        "import resource, sys; from pathlib import Path; from bottleneck.cache.atomic import write_output; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_output(Path(sys.argv[1]), bytes(5000))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "no room to write 5,000 bytes" in process.stderr
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_an_output_goes_into_a_pipe_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_output(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        write_output(tmp_path / "pipe", b"content")
        assert reader.communicate()[0] == b"content"
    assert (tmp_path / "pipe").is_fifo()
