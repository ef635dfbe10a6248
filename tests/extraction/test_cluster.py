"""A real scheduler and real workers, which are killed, frozen, added, blind and of other versions."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bottleneck
from bottleneck import FeatureCache
from bottleneck.cache.shard import shard_paths
from bottleneck.cache.verify import verify
from bottleneck.extraction.cluster import task_rows
from bottleneck.extraction.conveyor import Settings
from tests.commandline import Cli, command, last_json, one_line
from tests.pictures import extract_here, write_crops

ROOT = Path(bottleneck.__file__).parents[1]

BASE = ("--base", "vgg16", "--weights", "random", "--image-size", 64)
# A task for each batch: many of them to be lost.
OPTIONS = (*BASE, "--batch-size", 4, "--seal-seconds", 0)

# The least Dask takes: a worker is lost when it missed ten signs of life.
TTL = "5s"


class Crew:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.file = folder / "scheduler.json"
        given = {"WORKER_TTL": TTL, **settings}
        ours = {f"DASK_DISTRIBUTED__SCHEDULER__{name}": given[name] for name in given}
        scheduler = ("scheduler", "--port", 0, "--no-dashboard", "--host", "127.0.0.1")
        self._start("scheduler", scheduler, environment=ours)
        until(self.file.exists)

    @property
    def address(self) -> str:
        return "dask://" + json.loads(self.file.read_text())["address"].removeprefix("tcp://")

    def hire(
        self, name: str, *options: object, before: tuple[str, ...] = (), **environment: str
    ) -> None:
        """Start a worker, and wait until it says it is there."""
        arguments = ("worker", "--no-nanny", "--nthreads", 1, "--no-dashboard", "--name", name)
        self._start(name, (*arguments, *options), before, environment)

    def _start(
        self,
        name: str,
        arguments: tuple[object, ...],
        before: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        line = [*before, str(Path(sys.executable).with_name("dask")), *map(str, arguments)]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*line, "--scheduler-file", str(self.file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            )

    def wait_for(self, *names: str) -> "Crew":
        for name in names:
            log = self.folder / f"{name}.log"
            until(lambda log=log: b"Starting established connection" in log.read_bytes())
        return self

    def send(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with working(tmp_path) as made:
        yield made


@contextlib.contextmanager
def working(folder: Path, **settings: str) -> Iterator[Crew]:
    made = Crew(folder, settings)
    try:
        yield made
    finally:
        for process in made.processes.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, photographs: list) -> Path:
    """Two hundred and forty pictures."""
    folder = tmp_path_factory.mktemp("many") / "images"
    for seed, photograph in enumerate(photographs, start=3):  # seeds that draw no crop twice
        write_crops(folder / str(seed), photograph, 120, seed)
    return folder


@pytest.fixture(scope="module")
def here(many: Path) -> FeatureCache:
    """Their features, computed in this process."""
    cache = many.parent / "here"
    compute_here(many, cache)
    return FeatureCache(cache)


def compute_here(images: Path, cache: Path) -> Any:
    return extract_here(images, cache, base="vgg16", image_size=64, batch_size=4, seal_seconds=0)


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def sealed(cache: Path) -> int:
    return len(list(cache.glob("features/*/shard-*.h5")))


def assert_same(found: FeatureCache, expected: FeatureCache) -> None:
    """Compare bit for bit, in order, and look for rows that were kept twice and for anything left over."""
    one, other = found.load(), expected.load()
    assert one.paths == other.paths
    assert one.X.tobytes() == other.X.tobytes()
    verdict = verify(found)
    assert verdict.damages == verdict.gaps == ()
    assert verdict.rows == len(other.paths)
    names = {path.name for path in found.path.rglob("*") if path.is_file()}
    shards = {path.name for folder in found.folders for path in shard_paths(folder)}
    assert names - shards <= {"listing.h5", "recipe.json", ".writer.lock"}


@pytest.mark.long
def test_workers_that_die_hang_or_come_late_change_nothing(
    many: Path, here: FeatureCache, crew: Crew, tmp_path: Path
) -> None:
    crew.hire("killed")
    crew.hire("frozen")
    crew.hire("steady")
    crew.wait_for("killed", "frozen", "steady")
    cache = tmp_path / "cache"
    process = subprocess.Popen(
        command("extract", many, "--cache", cache, *OPTIONS, "--cluster", crew.address, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: sealed(cache) >= 6)
    crew.send("killed", signal.SIGKILL)
    crew.send("frozen", signal.SIGSTOP)
    assert sealed(cache) < 30, "too little was left to be disturbed"
    crew.hire("late")
    printed, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    report = json.loads(printed)
    assert report["computed"] == sum(report["workers"].values()) == 240
    assert report["workers"]["steady"] > 0
    assert report["workers"]["late"] > 0
    assert_same(FeatureCache(cache), here)
    # what it goes on with when it wakes up is nobody's any more
    crew.send("frozen", signal.SIGCONT)
    until(lambda: b"emov" in (tmp_path / "frozen.log").read_bytes() or gone(crew, "frozen"))
    assert_same(FeatureCache(cache), here)


def gone(crew: Crew, name: str) -> bool:
    return crew.processes[name].poll() is not None


@pytest.mark.long
def test_a_coordinator_that_is_killed_goes_on_with_what_was_sealed(
    many: Path, here: FeatureCache, crew: Crew, tmp_path: Path, cli: Cli
) -> None:
    crew.hire("one")
    crew.hire("two")
    crew.wait_for("one", "two")
    cache = tmp_path / "cache"
    arguments = ("extract", many, "--cache", cache, *OPTIONS, "--cluster", crew.address)
    for sent, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        before = sealed(cache)
        process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
        until(lambda before=before: sealed(cache) >= before + 5)
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code, said
        assert sealed(cache) < 50, "it came to its end"
        if sent == signal.SIGINT:
            assert "run the same command again" in said
            counted = int(said.split(" features were computed")[0].split()[-1])
            assert 0 < counted <= 4 * (sealed(cache) - before)
    before = sealed(cache)
    report = last_json(cli(*arguments, "--json"))
    # a task that was under way when its coordinator went may have been sealed after it was counted
    assert report["computed"] + report["reused"] == 240
    assert report["computed"] <= 240 - 4 * (before - 4)
    assert_same(FeatureCache(cache), here)


@pytest.mark.long
@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("only", "1 workers of dask://"),
        ("scheduler", "the scheduler of dask://"),
    ],
)
def test_a_task_or_scheduler_lost_for_good_is_one_clear_line_and_what_was_sealed_counts(
    many: Path, here: FeatureCache, tmp_path: Path, lost: str, said: str
) -> None:
    with working(tmp_path, ALLOWED_FAILURES="0") as crew:
        crew.hire("only")
        crew.wait_for("only")
        cache = tmp_path / "cache"
        arguments = ("extract", many, "--cache", cache, *OPTIONS)
        process = subprocess.Popen(
            command(*arguments, "--cluster", crew.address), stderr=subprocess.PIPE, text=True
        )
        until(lambda: sealed(cache) >= 4)
        crew.send(lost, signal.SIGKILL)
        _, messages = process.communicate(timeout=100)
    assert process.returncode == 1
    assert messages.splitlines()[-1].startswith(f"Error: {said}"), messages
    assert "run the same command again to go on" in messages
    before = sealed(cache)
    assert 4 <= before < 50
    assert compute_here(many, cache).computed == 240 - 4 * before
    assert_same(FeatureCache(cache), here)


@pytest.mark.long
def test_without_workers_it_waits_and_an_unfit_one_that_comes_late_is_named(
    many: Path, crew: Crew, tmp_path: Path
) -> None:
    crew.hire("only")
    crew.wait_for("only")
    cache = tmp_path / "cache"
    process = subprocess.Popen(
        command("extract", many, "--cache", cache, *OPTIONS, "--cluster", crew.address),
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: sealed(cache) >= 4)
    crew.send("only", signal.SIGKILL)
    assert process.stderr is not None
    while "No worker is left" not in (line := process.stderr.readline()):
        assert line, "it came to its end"
    crew.hire("late", **other_version(tmp_path))
    _, messages = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "worker late has bottleneck 0.0.7" in messages.splitlines()[-1]


@pytest.mark.long
def test_processes_of_this_machine_give_what_one_gives(
    many: Path, here: FeatureCache, tmp_path: Path, cli: Cli
) -> None:
    cache = tmp_path / "cache"
    done = cli("extract", many, "--cache", cache, *OPTIONS, "--cluster", "local:2")
    assert "Workers: " in done.stdout
    assert_same(FeatureCache(cache), here)


@pytest.mark.long
def test_tasks_go_to_workers_with_a_gpu_where_there_are_any(
    many: Path, crew: Crew, tmp_path: Path, cli: Cli
) -> None:
    crew.hire("plain")
    crew.hire("equipped", "--resources", "GPU=1")
    crew.wait_for("plain", "equipped")
    arguments = ("--base", "mobilenet_0.25", "--weights", "random", "--image-size", 32)
    cluster = ("--cluster", crew.address, "--json")
    report = last_json(cli("extract", many, "--cache", tmp_path / "cache", *arguments, *cluster))
    assert report["workers"] == {"equipped": 240}


@pytest.mark.long
def test_heads_on_a_cluster_are_what_they_are_here(cache: Path, crew: Crew, tmp_path: Path) -> None:
    crew.hire("one")
    crew.hire("two")
    grid = {"C": [0.1, 1.0, 10.0]}
    runs = [
        bottleneck.fit_head(cache, "logistic", grid=grid, out=tmp_path / name, cluster=cluster).run
        for name, cluster in (("here", None), ("there", crew.address))
    ]
    assert runs[0].params == runs[1].params
    assert runs[0].metrics == runs[1].metrics
    tables = [
        bottleneck.compare(cache, ["logistic", "knn", "softmax"], cluster=cluster).to_dict()
        for cluster in (None, crew.address)
    ]
    for table in tables:
        del table["costs"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("dask://127.0.0.1:1", "no Dask scheduler answers at dask://127.0.0.1:1"),
        ("127.0.0.1:8786", "--cluster takes dask://HOST:PORT or local:N"),
        ("local:0", "--cluster takes dask://HOST:PORT or local:N"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_clear_line(
    many: Path, tmp_path: Path, cli: Cli, cluster: str, said: str
) -> None:
    arguments = ("extract", many, "--cache", tmp_path / "cache", *BASE, "--cluster", cluster)
    assert said in one_line(cli(*arguments, check=False))


def test_without_dask_the_extra_is_named(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)  # as where it is not installed
    with pytest.raises(bottleneck.BottleneckError, match=r"install bottleneck-features\[cluster\]"):
        extract_here(many, tmp_path / "cache", cluster="local:1")


@settings(deadline=None, max_examples=200)
@given(
    rows=st.integers(1, 10**7),
    most=st.integers(1, 200),
    workers=st.integers(1, 500),
    batch_seconds=st.floats(1e-4, 100),
    batch_size=st.integers(1, 64),
)
def test_a_task_is_whole_batches_and_never_more_than_a_shard_or_the_time_until_it_is_sealed(
    rows: int, most: int, workers: int, batch_seconds: float, batch_size: int
) -> None:
    minute = Settings(batch_size=batch_size, seal_seconds=60)
    size = task_rows(rows, most * batch_size, workers, batch_seconds, minute)
    assert size % batch_size == 0
    assert batch_size <= size <= most * batch_size
    assert size == batch_size or size / batch_size * batch_seconds <= 60


def test_a_scheduler_without_workers_says_how_to_start_some(
    many: Path, crew: Crew, tmp_path: Path, cli: Cli
) -> None:
    arguments = ("extract", many, "--cache", tmp_path / "cache", *BASE, "--cluster", crew.address)
    error = one_line(cli(*arguments, check=False))
    assert "has no workers; start some with: dask worker tcp://127.0.0.1:" in error


def other_version(folder: Path) -> dict[str, Any]:
    copy = shutil.copytree(ROOT / "bottleneck", folder / "elsewhere" / "bottleneck")
    file = copy / "__init__.py"
    text = file.read_text()
    file.write_text(text.replace(f'"{bottleneck.__version__}"', '"0.0.7"'))
    assert "0.0.7" in file.read_text()
    return {"PYTHONPATH": str(copy.parent)}


def none_at_all(folder: Path) -> dict[str, Any]:
    empty = folder / "elsewhere" / "bottleneck"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("raise ImportError('another package of this name')")
    return {"PYTHONPATH": str(empty.parent)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (other_version, f"has bottleneck 0.0.7 (here {bottleneck.__version__})"),
        (none_at_all, "has no bottleneck, or another version of it"),
    ],
)
def test_a_worker_with_other_versions_is_named_with_both(
    many: Path,
    crew: Crew,
    tmp_path: Path,
    cli: Cli,
    make: Callable[[Path], dict[str, Any]],
    said: str,
) -> None:
    crew.hire("same")
    crew.hire("other", **make(tmp_path))
    crew.wait_for("same", "other")
    arguments = ("extract", many, "--cache", tmp_path / "cache", *BASE, "--cluster", crew.address)
    error = one_line(cli(*arguments, check=False))
    assert "worker other (tcp://" in error
    assert said in error


@pytest.mark.parametrize("hidden", ["images", "cache"])
def test_a_worker_that_does_not_see_images_or_cache_is_named_with_the_folder(
    many: Path, crew: Crew, tmp_path: Path, cli: Cli, hidden: str
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    folder = {"images": many, "cache": cache}[hidden]
    # a file system of its own over that folder, for this process alone
    before = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    cover = f'mount -t tmpfs none "{folder}" && exec "$0" "$@"'
    tried = subprocess.run([*before, cover, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs the right to mount in a namespace: {tried.stderr!r}")
    crew.hire("sighted")
    crew.hire("blind", before=(*before, cover))
    crew.wait_for("sighted", "blind")
    arguments = ("extract", many, "--cache", cache, *BASE, "--cluster", crew.address)
    error = one_line(cli(*arguments, check=False))
    assert "worker blind (tcp://" in error
    assert f"does not see {'the images in ' if hidden == 'images' else ''}{folder}" in error
