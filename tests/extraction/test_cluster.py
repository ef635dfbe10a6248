"""A real scheduler and real workers, which are killed, frozen, added, blind and of other versions."""

import contextlib
import json
import os
import queue
import re
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
from bottleneck.extraction.cluster import connect
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.dispatch import task_rows
from bottleneck.extraction.engines.openvino_engine import precisions_here
from bottleneck.extraction.worker import AccessCheck
from bottleneck.extraction.worker_pool import WorkerPool
from tests.commandline import Cli, command, last_json, one_line
from tests.pictures import extract_here, write_many
from tests.store import Store

ROOT = Path(bottleneck.__file__).parents[1]

BASE = ("--base", "vgg16", "--weights", "random", "--image-size", 64)
# A task for each batch: many of them to be lost.
OPTIONS = (*BASE, "--batch-size", 4, "--seal-seconds", 0)

SMALL = ("--base", "mobilenet_0.25", "--weights", "random", "--image-size", 32)
SMALL_TASKS = (*SMALL, "--batch-size", 4, "--seal-seconds", 0)

# Seconds after which Dask takes a worker for lost that gives no sign of life. One that loads TensorFlow on
# a machine with other things to do gives none for longer than the five that are the least Dask takes. Who
# is killed is noticed at once, by its connection.
NEVER = "600s"
SOON = "30s"

# What takes seconds may take minutes on such a machine.
PATIENCE = 300


class Crew:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.file = folder / "scheduler.json"
        given = {"WORKER_TTL": NEVER, **settings}
        ours = {f"DASK_DISTRIBUTED__SCHEDULER__{name}": given[name] for name in given}
        scheduler = ("scheduler", "--port", 0, "--no-dashboard", "--host", "127.0.0.1")
        self._start("scheduler", scheduler, environment=ours)
        until(self.file.exists)

    @property
    def address(self) -> str:
        return "dask://" + json.loads(self.file.read_text())["address"].removeprefix("tcp://")

    def client(self) -> Any:
        from distributed import Client

        return Client(self.address.replace("dask", "tcp"), set_as_default=False)

    def hire(
        self,
        name: str,
        *options: object,
        before: tuple[str, ...] = (),
        nanny: bool = False,
        **environment: str,
    ) -> None:
        """Start a worker, under a nanny that restarts it if asked for."""
        watched = "--nanny" if nanny else "--no-nanny"
        arguments = ("worker", watched, "--nthreads", 1, "--no-dashboard", "--name", name)
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


@pytest.fixture
def strict_crew(tmp_path: Path) -> Iterator[Crew]:
    """A scheduler that gives up a worker it does not hear from."""
    with working(tmp_path, WORKER_TTL=SOON) as made:
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
    return write_many(tmp_path_factory.mktemp("many") / "images", photographs, 120)


@pytest.fixture(scope="module")
def here(many: Path) -> FeatureCache:
    """Their features, computed in this process."""
    cache = many.parent / "here"
    compute_here(many, cache)
    return FeatureCache(cache)


@pytest.fixture(scope="module")
def small_here(images: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """The forty images in this process."""
    cache = tmp_path_factory.mktemp("small") / "here"
    extract_here(images, cache, base="mobilenet_0.25", image_size=32, batch_size=4)
    return FeatureCache(cache)


def compute_here(images: Path, cache: Path) -> Any:
    return extract_here(images, cache, base="vgg16", image_size=64, batch_size=4, seal_seconds=0)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def sealed(cache: Path) -> int:
    return len(list(cache.glob("features/*/shard-*.h5")))


def assert_same_features(found: FeatureCache, expected: FeatureCache) -> None:
    """Compare bit for bit, in order, and look for rows that were kept twice."""
    one, other = found.load(), expected.load()
    assert one.paths == other.paths
    assert one.X.tobytes() == other.X.tobytes()
    verdict = verify(found)
    assert verdict.damages == verdict.gaps == ()
    assert verdict.rows == len(other.paths)


def assert_same(found: FeatureCache, expected: FeatureCache) -> None:
    """Compare features, and look for anything left over."""
    assert_same_features(found, expected)
    names = {path.name for path in found.path.rglob("*") if path.is_file()}
    shards = {path.name for folder in found.folders for path in shard_paths(folder)}
    assert names - shards <= {"listing.h5", "recipe.json", ".writer.lock"}


@pytest.mark.long
def test_workers_that_die_hang_or_come_late_change_nothing(
    many: Path, here: FeatureCache, strict_crew: Crew, tmp_path: Path
) -> None:
    crew = strict_crew
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
    # all stand still until the next is there: it does not come too late, however fast the machine
    crew.send("steady", signal.SIGSTOP)
    assert sealed(cache) < 30, "too little was left to be disturbed"
    crew.hire("late")
    crew.wait_for("late")
    crew.send("steady", signal.SIGCONT)
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    report = json.loads(printed)
    assert report["computed"] == sum(report["workers"].values()) == 240
    assert report["workers"]["steady"] > 0
    assert report["workers"]["late"] > 0
    assert_same(FeatureCache(cache), here)
    # what it goes on with when it wakes up is nobody's any more
    crew.send("frozen", signal.SIGCONT)
    until(lambda: at_rest(crew, "frozen"))
    assert_same(FeatureCache(cache), here)


def test_whom_a_task_was_sent_to_does_not_grow_with_those_who_join(crew: Crew) -> None:
    crew.hire("one")
    crew.hire("other")
    crew.wait_for("one", "other")
    with connect(crew.address) as cluster:
        assert cluster is not None
        roll = WorkerPool(cluster, AccessCheck("/nowhere"), "topic", queue.SimpleQueue())
        roll.look()
        one, other = roll.there
        roll.hear(one, "")
        first = roll.fit
        roll.hear(other, "")
        assert (first, roll.fit) == ({one}, {one, other})
        roll.dismiss()


@pytest.mark.long
def test_what_only_a_lost_worker_could_do_goes_to_who_came_later(
    many: Path, here: FeatureCache, strict_crew: Crew, tmp_path: Path
) -> None:
    crew = strict_crew
    crew.hire("only")
    crew.wait_for("only")
    cache = tmp_path / "cache"
    line = command("extract", many, "--cache", cache, *OPTIONS, "--cluster", crew.address, "--json")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: sealed(cache) >= 2)
        crew.send("only", signal.SIGSTOP)
        crew.hire("late")
        printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert json.loads(printed)["workers"]["late"] > 0
    assert_same(FeatureCache(cache), here)


@pytest.mark.long
@pytest.mark.parametrize("nanny", [True, False], ids=["restarted", "replaced"])
def test_a_base_is_built_by_another_when_its_only_worker_is_killed_while_building(
    images: Path, small_here: FeatureCache, crew: Crew, tmp_path: Path, nanny: bool
) -> None:
    crew.hire("only", nanny=nanny)
    crew.wait_for("only")
    cache = tmp_path / "cache"
    line = command("extract", images, "--cache", cache, *SMALL_TASKS, "--cluster", crew.address)
    with (
        crew.client() as client,
        subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process,
    ):
        until(lambda: "build_outline" in str(client.processing()))
        [pid] = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        if not nanny:
            crew.hire("late")
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert_same(FeatureCache(cache), small_here)


@pytest.mark.long
def test_paused_workers_are_named_with_their_memory_and_others_do_their_tasks(
    images: Path, small_here: FeatureCache, crew: Crew, tmp_path: Path
) -> None:
    # Python and Dask take less than 80 % of this, TensorFlow more: it is paused while it builds the base
    crew.hire("only", "--memory-limit", "150MB")
    crew.wait_for("only")
    cache = tmp_path / "cache"
    line = command("extract", images, "--cache", cache, *SMALL_TASKS, "--cluster", crew.address)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "Dask has paused all workers" not in (said := process.stderr.readline()):
            assert said, "it came to its end"
        assert re.search(r"worker only uses \S+ [MG]iB of its limit of 143.05 MiB", said)
        assert "--memory-limit" in said
        crew.hire("late")
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert_same(FeatureCache(cache), small_here)


# Seconds in which SIGTERM ends a command, and what a machine that is loaded several times over may add.
ENDS_WITHIN = 2 + 1.5


@pytest.mark.long
@pytest.mark.parametrize("local", [True, False], ids=["local", "elsewhere"])
@pytest.mark.parametrize("computing", [True, False], ids=["computing", "building"])
def test_sigterm_ends_a_command_on_a_cluster_soon_with_what_is_finished_sealed(
    many: Path, here: FeatureCache, crew: Crew, tmp_path: Path, local: bool, computing: bool
) -> None:
    if not local:
        crew.hire("one")
        crew.wait_for("one")
    cache = tmp_path / "cache"
    where = "local:2" if local else crew.address
    line = command("extract", many, "--cache", cache, *OPTIONS, "--cluster", where)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: sealed(cache) >= 4 if computing else cache.exists())
        if not computing:
            time.sleep(1)  # it connects, and has the base built
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        _, said = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - started
    assert process.returncode == 143, said
    assert took < ENDS_WITHIN, said
    if computing:
        report = compute_here(many, cache)
        assert 0 < report.computed < 240
        assert_same(FeatureCache(cache), here)


def at_rest(crew: Crew, name: str) -> bool:
    """Tell whether a worker has nothing to do, or has ended, having been taken for lost."""

    def executing(dask_worker: Any) -> int:
        found: int = dask_worker.state.executing_count
        return found

    if crew.processes[name].poll() is not None:
        return True
    with crew.client() as client:
        known = client.scheduler_info(n_workers=-1)["workers"]
        addresses = [address for address in known if known[address]["name"] == name]
        return bool(addresses) and client.run(executing, workers=addresses) == {addresses[0]: 0}


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
        _, said = process.communicate(timeout=PATIENCE)
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
        _, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert messages.splitlines()[-1].startswith(f"Error: {said}"), messages
    assert "run the same command again to go on" in messages
    before = sealed(cache)
    assert 4 <= before < 50
    assert compute_here(many, cache).computed == 240 - 4 * before
    assert_same(FeatureCache(cache), here)


def test_a_scheduler_that_goes_while_it_is_asked_is_one_clear_line(crew: Crew) -> None:
    crew.hire("only")
    crew.wait_for("only")
    with connect(crew.address) as cluster:
        assert cluster is not None
        assert cluster.addresses() == cluster.workers().keys()
        crew.send("scheduler", signal.SIGKILL)
        for ask in (cluster.addresses, cluster.workers):
            with pytest.raises(
                bottleneck.BottleneckError, match=r"the scheduler of dask://.* is gone"
            ):
                ask()


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
    _, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert re.search(r"worker late \(\S+\) has bottleneck 0\.0\.7", messages.splitlines()[-1])


@pytest.mark.long
def test_an_unfit_worker_that_comes_late_is_named_once_and_left_out(
    many: Path, here: FeatureCache, tmp_path: Path
) -> None:
    with working(tmp_path) as crew:
        crew.hire("steady")
        crew.wait_for("steady")
        cache = tmp_path / "cache"
        line = ("extract", many, "--cache", cache, *OPTIONS, "--cluster", crew.address)
        process = subprocess.Popen(
            command(*line, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until(lambda: sealed(cache) >= 1)
        crew.send("steady", signal.SIGSTOP)
        assert sealed(cache) < 50, "too little was left"
        # tasks and who was asked: the rest waits with the command
        assert tasks_at(crew) <= 2 + 1
        crew.hire("late", **other_version(tmp_path))
        assert process.stderr is not None
        said = ""
        while "late" not in said:
            said += process.stderr.readline()
            assert process.poll() is None, said
        crew.send("steady", signal.SIGCONT)
        printed, more = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, more
    assert json.loads(printed)["workers"] == {"steady": 240}
    assert (said + more).count("has bottleneck 0.0.7") == 1
    assert "The others go on without it" in said
    assert_same(FeatureCache(cache), here)


def tasks_at(crew: Crew) -> int:
    """Count what the scheduler holds."""

    def count(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    with crew.client() as client:
        found: int = client.run_on_scheduler(count)
        return found


# --- a cache behind a URL


def assert_same_there(url: str, expected: FeatureCache, store: Store) -> None:
    """Compare features behind a URL, and look for anything left over there."""
    assert_same_features(FeatureCache(url), expected)
    names = {key.rpartition("/")[2] for key in store.keys(url)}
    assert {name for name in names if not name.startswith("shard-")} == {
        "listing.h5",
        "recipe.json",
    }


def sealed_there(url: str, store: Store) -> int:
    return sum("/shard-" in key for key in store.keys(url))


@pytest.mark.long
def test_workers_send_what_they_seal_to_a_cache_behind_a_url(
    images: Path, small_here: FeatureCache, store: Store, tmp_path: Path, cli: Cli
) -> None:
    url = f"{store.url}/cache"
    done = cli("extract", images, "--cache", url, *SMALL_TASKS, "--cluster", "local:2")
    assert "Workers: " in done.stdout
    # by workers: nothing of it passed through this machine's copy
    assert not list((tmp_path / "mirrors").rglob("shard-*.h5"))
    assert store.count("PUT .*shard-") == sealed_there(url, store) == 10
    assert_same_there(url, small_here, store)
    again = last_json(cli("extract", images, "--cache", url, *SMALL, "--json"))
    assert again["computed"] == 0


@pytest.mark.long
def test_a_worker_killed_while_it_sends_leaves_no_half_shard_behind_a_url(
    images: Path, small_here: FeatureCache, crew: Crew, store: Store, tmp_path: Path
) -> None:
    url = f"{store.url}/cache"
    store.faults += [["PUT .*shard-", "", 2], ["PUT .*shard-", "stall", 1]]
    crew.hire("killed", BOTTLENECK_MIRROR=str(tmp_path / "one"))
    crew.wait_for("killed")
    line = ("extract", images, "--cache", url, *SMALL_TASKS, "--cluster", crew.address, "--json")
    process = subprocess.Popen(
        command(*line), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert store.stalled.wait(PATIENCE)
    assert sealed_there(url, store) == 2
    crew.send("killed", signal.SIGKILL)
    crew.hire("late", BOTTLENECK_MIRROR=str(tmp_path / "two"))
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert json.loads(printed)["workers"] == {"killed": 8, "late": 32}
    assert_same_there(url, small_here, store)


@pytest.mark.long
def test_a_coordinator_killed_leaves_behind_a_url_what_was_sealed(
    images: Path, small_here: FeatureCache, crew: Crew, store: Store, cli: Cli
) -> None:
    url = f"{store.url}/cache"
    crew.hire("only")
    crew.wait_for("only")
    store.faults += [["PUT .*shard-", "", 3], ["PUT .*shard-", "stall", 1]]
    line = ("extract", images, "--cache", url, *SMALL_TASKS, "--cluster", crew.address)
    with subprocess.Popen(command(*line), stderr=subprocess.DEVNULL) as process:
        assert store.stalled.wait(PATIENCE)
        process.kill()
    crew.send("only", signal.SIGKILL)
    crew.hire("other")
    crew.wait_for("other")
    assert sealed_there(url, store) == 3
    report = last_json(cli(*line, "--json"))
    assert (report["computed"], report["reused"]) == (28, 12)
    assert_same_there(url, small_here, store)


@pytest.mark.long
@pytest.mark.parametrize("cluster", ["local:1", "elsewhere"])
def test_heads_on_a_cluster_read_a_cache_behind_a_url_themselves(
    small_here: FeatureCache, crew: Crew, store: Store, tmp_path: Path, cluster: str
) -> None:
    store.put_folder(small_here.path, f"{store.url}/cache")
    if cluster == "elsewhere":
        crew.hire("one", BOTTLENECK_MIRROR=str(tmp_path / "one"))
        crew.wait_for("one")
        cluster = crew.address
    heads = ["logistic", "centroid"]
    expected = bottleneck.compare(small_here.path, heads)
    # who may only read takes part too
    store.faults.append(["(PUT|DELETE) .*cache", "403", 10_000])
    found = bottleneck.compare(f"{store.url}/cache", heads, cluster=cluster)
    assert [entry.scores for entry in found.entries] == [entry.scores for entry in expected.entries]
    assert {entry.cache for entry in found.entries} == {f"{store.url}/cache"}
    grid = {"C": [0.1, 1.0]}
    runs = [
        bottleneck.fit_head(cache, "logistic", grid=grid, out=tmp_path / name, cluster=on).run
        for cache, name, on in (
            (small_here.path, "here", None),
            (f"{store.url}/cache", "there", cluster),
        )
    ]
    assert runs[0].params == runs[1].params
    assert runs[0].metrics == runs[1].metrics


def test_a_worker_that_sees_another_store_is_named(
    images: Path, crew: Crew, store: Store, cli: Cli
) -> None:
    crew.hire("same")
    crew.hire("stranger", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", HOME="/nowhere")
    crew.wait_for("same", "stranger")
    url = f"{store.url}/cache"
    line = ("extract", images, "--cache", url, *SMALL, "--cluster", crew.address)
    error = one_line(cli(*line, check=False))
    assert "worker stranger (tcp://" in error
    assert "cannot write to the cache: " in error
    assert store.keys(store.url) == []


@pytest.mark.long
@pytest.mark.skipif("int8" not in precisions_here(), reason="the processor has no int8")
@pytest.mark.parametrize("remote", [False, True])
def test_workers_find_a_quantised_graph_where_its_cache_is(
    remote: bool, images: Path, crew: Crew, store: Store, tmp_path: Path, cli: Cli
) -> None:
    crew.hire("one", BOTTLENECK_MIRROR=str(tmp_path / "one"))
    crew.wait_for("one")
    int8 = {"base": "mobilenet_0.25", "image_size": 32, "batch_size": 4, "precision": "int8"}
    extract_here(images, tmp_path / "here", **int8)
    cache = f"{store.url}/cache" if remote else tmp_path / "there"
    line = ("extract", images, "--cache", cache, *SMALL, "--batch-size", 4, "--precision", "int8")
    assert last_json(cli(*line, "--cluster", crew.address, "--json"))["workers"] == {"one": 40}
    assert_same_features(FeatureCache(cache), FeatureCache(tmp_path / "here"))


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


def test_a_scheduler_whose_workers_are_paused_from_the_start_is_one_clear_line(
    many: Path, crew: Crew, tmp_path: Path, cli: Cli
) -> None:
    # less than Python and Dask take
    crew.hire("only", "--memory-limit", "40MB")
    crew.wait_for("only")
    arguments = ("extract", many, "--cache", tmp_path / "cache", *BASE, "--cluster", crew.address)
    error = one_line(cli(*arguments, check=False))
    assert re.search(r"has paused all workers of .*worker only uses \S+ MiB of its limit of", error)
    assert "--memory-limit" in error


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


def other_code(folder: Path) -> dict[str, Any]:
    copy = shutil.copytree(ROOT / "bottleneck", folder / "elsewhere" / "bottleneck")
    with (copy / "images" / "decode.py").open("a") as file:
        file.write("# another revision of the same version\n")
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
        (other_code, "has code of bottleneck "),
        (none_at_all, "has no bottleneck, or another version of it"),
    ],
)
def test_a_worker_with_other_versions_or_code_is_named_with_both(
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
