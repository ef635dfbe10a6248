"""Killed, terminated, interrupted, out of room: what was sealed is kept, and the rest goes on."""

import contextlib
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bottleneck import FeatureCache
from bottleneck.cache.shard import shard_paths
from bottleneck.cache.verify import verify
from tests.commandline import Cli, command, last_json, one_line
from tests.pictures import write_many

# Shards are sealed with every batch, so that a kill has many of them to come between.
BASE = ("--base", "mobilenet_0.5", "--weights", "random", "--image-size", 96)
OPTIONS = (*BASE, "--batch-size", 4, "--seal-seconds", 0)

# Features of 8 kB, for what is about their size.
LARGE = ("--weights", "random", "--image-size", 75, "--seal-seconds", 600)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, photographs: list) -> Path:
    """Three hundred and twenty pictures: a second or two of work."""
    return write_many(tmp_path_factory.mktemp("many") / "images", photographs, 160)


@pytest.fixture(scope="module")
def undisturbed(many: Path, cli: Cli) -> tuple[FeatureCache, float]:
    """The features of a run that nothing happened to, and how long it took."""
    return run_undisturbed(many, cli, "auto")


def run_undisturbed(many: Path, cli: Cli, engine: str) -> tuple[FeatureCache, float]:
    cache = many.parent / f"undisturbed-{engine}"
    started = time.monotonic()
    cli("extract", many, "--cache", cache, *OPTIONS, "--engine", engine)
    return FeatureCache(cache), time.monotonic() - started


def assert_same(found: FeatureCache, expected: FeatureCache) -> None:
    """Compare bit for bit, and look for anything left over."""
    one, other = found.load(), expected.load()
    assert one.paths == other.paths
    assert one.X.tobytes() == other.X.tobytes()
    verdict = verify(found)
    assert verdict.damages == verdict.gaps == ()
    assert verdict.rows == len(other.paths)  # no image was computed, and kept, twice
    names = {path.name for path in found.path.rglob("*") if path.is_file()}
    shards = {path.name for folder in found.folders for path in shard_paths(folder)}
    assert names - shards <= {"listing.h5", "recipe.json", ".writer.lock"}


@pytest.mark.long
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_killed_at_any_moment_it_goes_on_with_what_was_sealed(
    many: Path, tmp_path: Path, cli: Cli, engine: str
) -> None:
    expected, seconds = run_undisturbed(many, cli, engine)
    cache = tmp_path / "cache"
    rng = random.Random(0)
    arguments = ("extract", many, "--cache", cache, *OPTIONS, "--engine", engine)
    sealed = [0]
    for number in range(12):
        process = subprocess.Popen(
            command(*arguments), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if number % 4 == 0:
            time.sleep(rng.uniform(0, 0.6) * seconds)  # mostly while it loads, or scans
        else:
            # most of a run is loading: wait until it seals, and some more
            enough = sealed[-1] + rng.randrange(4)
            while count(cache) < enough and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
        sealed.append(count(cache))
    assert sealed == sorted(sealed), "a sealed shard was lost"
    assert len(set(sealed)) > 6, "few kills came while shards were being sealed"
    assert sealed[-1] < 80, "it came to its end in spite of being killed"
    report = last_json(cli(*arguments, "--json"))
    assert report["computed"] == 320 - 4 * sealed[-1]
    assert_same(FeatureCache(cache), expected)


def count(cache: Path) -> int:
    return len(list(cache.glob("features/*/shard-*.h5")))


@pytest.mark.parametrize(
    ("sent", "code", "engine"),
    [(signal.SIGINT, 130, "auto"), (signal.SIGINT, 130, "keras"), (signal.SIGTERM, 143, "auto")],
)
def test_interrupted_it_seals_says_how_to_go_on_and_exits(
    many: Path,
    undisturbed: tuple[FeatureCache, float],
    tmp_path: Path,
    cli: Cli,
    sent: signal.Signals,
    code: int,
    engine: str,
) -> None:
    cache = tmp_path / "cache"
    options = (*OPTIONS[:-1], 0.2, "--engine", engine)
    process = subprocess.Popen(
        command("extract", many, "--cache", cache, *options),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not count(cache):  # it is computing once it has sealed a shard, and a tenth done at most
        time.sleep(0.01)
    process.send_signal(sent)
    out, said = process.communicate(timeout=300)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "Interrupted."
    (sealed,) = map(int, re.findall(r"(\d+) features were computed and sealed", said))
    assert "run the same command again" in said
    assert verify(FeatureCache(cache)).rows == sealed > 0
    if (sent, engine) == (signal.SIGINT, "auto"):  # it goes on the same way after either
        report = last_json(cli("extract", many, "--cache", cache, *options, "--json"))
        assert report["computed"] == 320 - sealed
        assert_same(FeatureCache(cache), undisturbed[0])


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, with so much room."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_gives_one_clear_line_and_keeps_what_was_sealed(
    many: Path, undisturbed: tuple[FeatureCache, float], tmp_path: Path, cli: Cli
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        process = subprocess.Popen(
            command("extract", many, "--cache", disk / "cache", *OPTIONS),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # there was room enough when it started: somebody else takes it
        while not count(disk / "cache"):
            time.sleep(0.01)
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        out, err = process.communicate()
        said = one_line(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        assert "no room to write" in said
        assert "run the same command again" in said
        verdict = verify(FeatureCache(disk / "cache"))
        assert 0 < verdict.rows < 320
        assert verdict.damages == ()
        assert not list(disk.rglob(".unfinished-*"))
        # on a disk with room it goes on
        shutil.copytree(disk / "cache", tmp_path / "cache")
    report = last_json(cli("extract", many, "--cache", tmp_path / "cache", *OPTIONS, "--json"))
    assert report["computed"] == 320 - verdict.rows
    assert_same(FeatureCache(tmp_path / "cache"), undisturbed[0])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_computed(
    images: Path, tmp_path: Path, cli: Cli
) -> None:
    with small_disk(tmp_path / "disk", "200k") as disk:
        process = cli("extract", images, "--cache", disk / "cache", *LARGE, check=False)
        assert "features will take 0.3 MB and 0.2 MB are free in" in one_line(process)
        assert not list(disk.rglob("shard-*"))


def test_a_limit_on_the_size_of_files_is_met_like_a_full_disk(
    images: Path, tmp_path: Path, cli: Cli
) -> None:
    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = cli("extract", images, "--cache", tmp_path, *LARGE, check=False, preexec_fn=limit)
    assert "no room to write" in one_line(process)
    assert not list(tmp_path.rglob(".unfinished-*"))


def test_a_second_writer_is_told_of_the_first_and_readers_are_not_kept_waiting(
    many: Path, undisturbed: tuple[FeatureCache, float], tmp_path: Path, cli: Cli
) -> None:
    cache = shutil.copytree(undisturbed[0].path, tmp_path / "cache")
    first = subprocess.Popen(
        command("extract", many, "--cache", cache, *OPTIONS, "--seed", 1),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not (cache / ".writer.json").exists():
        time.sleep(0.02)
    said = one_line(cli("extract", many, "--cache", cache, *OPTIONS, check=False))
    assert f"is being written by process {first.pid}" in said
    np.testing.assert_array_equal(
        FeatureCache(cache).load(undisturbed[0].recipes[0]).X, undisturbed[0].load().X
    )
    assert first.poll() is None, "the first writer had ended: nothing was tested"
    first.wait()
    assert len(FeatureCache(cache).recipes) == 2
