"""The conveyor, with a base so small that features can be told by hand."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bottleneck.cache.digests import Digests
from bottleneck.cache.shard import read_shard, shard_paths
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.plan import Item, Target, Task, plan_tasks
from bottleneck.extraction.scan import digest_of
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.images.decode import decode
from tests.cache.test_recipe import RECIPE

COUNT = 23


@dataclass
class MeanColour:
    """A base whose features are the mean of each channel; it notes the shapes it is shown."""

    shapes: set[tuple[int, ...]] = field(default_factory=set)
    interrupt_after: int = 10**6
    calls: int = 0
    in_flight: int = 1
    batch_size: int = 16
    name: str = "mean colour"
    taps: tuple[str, ...] = ("mixed10",)
    feature_shapes: tuple[tuple[int, ...], ...] = ((3,),)

    def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        assert pixels.dtype == np.uint8
        self.shapes.add(pixels.shape)
        self.calls += 1
        if self.in_flight > 1:  # those that come later are through first
            time.sleep(0.01 * (self.calls % 2))
        if self.calls > self.interrupt_after:
            raise KeyboardInterrupt
        return (pixels.mean(axis=(1, 2), dtype=np.float32),)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour each: number n is (n, 0, 0)."""
    folder = tmp_path_factory.mktemp("colours")
    for number in range(COUNT):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(folder / f"{number:02d}.png")
    return folder


def task(root: Path) -> Task:
    files = sorted(root.glob("*.png"))
    return Task(tuple(Item(digest_of(file.read_bytes()), (file.name,)) for file in files))


def convey(
    root: Path,
    features: Path,
    engine: MeanColour,
    planned: Task | None = None,
    held: Collection[str] = (),
    **options,
) -> ExtractionStatistics:
    tally = ExtractionStatistics()
    engine.batch_size = options.get("batch_size", engine.batch_size)
    (features / RECIPE.id).mkdir(exist_ok=True)
    run_task(
        planned or task(root),
        root=root,
        features=features,
        targets=[Target(RECIPE, range(1), cached={0: Digests.of(held)})],
        start=lambda: engine,
        settings=Settings(**options),
        tally=tally,
        done=lambda images: None,
    )
    return tally


def sealed(features: Path) -> dict[str, float]:
    shards = [read_shard(path) for path in shard_paths(features / RECIPE.id)]
    return {
        d: float(x[0])
        for shard in shards
        for d, x in zip(shard.digests, shard.features, strict=True)
    }


@settings(deadline=None, max_examples=30)
@given(
    batch_size=st.integers(1, 30),
    workers=st.integers(1, 4),
    in_flight=st.integers(1, 3),
    often=st.booleans(),
)
def test_each_image_gets_its_own_features_whatever_the_batches(
    batch_size: int,
    workers: int,
    in_flight: int,
    often: bool,
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    engine = MeanColour(in_flight=in_flight)
    tally = convey(
        root,
        folder,
        engine,
        batch_size=batch_size,
        workers=workers,
        seal_seconds=0.0 if often else 60.0,
    )
    assert sealed(folder) == {item.digest: float(n) for n, item in enumerate(task(root).items)}
    assert tally.computed == COUNT
    # the last, short batch too: another shape would be another graph
    assert engine.shapes == {(batch_size, 75, 75, 3)}


@settings(deadline=None, max_examples=40)
@given(
    shown=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=20),
    held=st.sets(st.integers(0, 6)),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 4),
)
def test_files_not_read_before_are_computed_where_their_bytes_are_new(
    shown: list[tuple[int, bool]],
    held: set[int],
    batch_size: int,
    workers: int,
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("set")
    digests = [item.digest for item in task(root).items]
    items = []
    for place, (number, unread) in enumerate(shown):
        shutil.copy(root / f"{number:02d}.png", folder / f"{place}.png")
        # what is known to be there is not planned
        if unread or number not in held:
            items.append(Item("" if unread else digests[number], (f"{place}.png",)))
    engine = MeanColour()
    shards = folder / "shards"
    shards.mkdir()
    there = [digests[number] for number in held]
    options = {"batch_size": batch_size, "workers": workers}
    tally = convey(folder, shards, engine, Task(tuple(items)), there, **options)
    new = {number for number, _ in shown} - held
    assert sealed(shards) == {digests[number]: float(number) for number in new}
    assert tally.computed == len(new)
    assert engine.calls == -(-len(new) // batch_size)
    assert [digest.hex() for digest in tally.digests] == [
        digests[number] for number, unread in shown if unread
    ]


def test_tasks_may_run_in_any_order_and_at_the_same_time(root: Path, tmp_path: Path) -> None:
    tasks = plan_tasks(list(task(root).items), rows_per_task=5)
    with ThreadPoolExecutor(3) as anywhere:
        list(anywhere.map(lambda t: convey(root, tmp_path, MeanColour(), t), reversed(tasks)))
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own limit is what it was
    assert len(shard_paths(tmp_path / RECIPE.id)) == len(tasks)
    assert sealed(tmp_path) == {item.digest: float(n) for n, item in enumerate(task(root).items)}


def test_a_picture_that_cannot_be_used_leaves_the_others_in_place(
    root: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((root / "00.png").read_bytes()[:60])
    items = list(task(root).items)
    items.insert(5, Item(digest_of(broken.read_bytes()), (str(broken),)))
    (tmp_path / "shards").mkdir()
    tally = convey(root, tmp_path / "shards", MeanColour(), Task(tuple(items)), batch_size=4)
    assert sealed(tmp_path / "shards") == {
        item.digest: float(n) for n, item in enumerate(task(root).items)
    }
    assert list(tally.undecodable) == [items[5].digest]


def test_a_file_that_vanished_or_changed_is_never_given_the_features_of_its_old_bytes(
    root: Path, tmp_path: Path
) -> None:
    planned = Task((Item("00" * 32, ("00.png",)), Item("11" * 32, ("gone.png",))))
    tally = convey(root, tmp_path, MeanColour(), planned)
    assert sealed(tmp_path) == {}
    assert "changed since it was listed" in tally.unreadable["00.png"]
    assert "no such file" in tally.unreadable["gone.png"]


def test_a_duplicate_stands_in_for_a_file_that_vanished(root: Path, tmp_path: Path) -> None:
    digest = digest_of((root / "07.png").read_bytes())
    tally = convey(root, tmp_path, MeanColour(), Task((Item(digest, ("gone.png", "07.png")),)))
    assert sealed(tmp_path) == {digest: 7.0}
    assert list(tally.unreadable) == ["gone.png"]


def test_what_is_computed_when_it_is_interrupted_is_sealed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        convey(root, tmp_path, MeanColour(interrupt_after=3), batch_size=4)
    assert sorted(sealed(tmp_path).values()) == list(range(12))


def test_decoding_runs_ahead_of_a_slow_base_by_two_batches_and_no_more(
    root: Path, tmp_path: Path
) -> None:
    pictures, shards = shutil.copytree(root, tmp_path / "pictures"), tmp_path / "shards"
    shards.mkdir()

    class Slow(MeanColour):
        def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
            time.sleep(0.5)  # time enough to decode them all
            for file in pictures.glob("*.png"):
                file.unlink()
            return super().features(pixels)

    tally = convey(pictures, shards, Slow(), task(root), batch_size=2, workers=1)
    # one with the base, one it goes on with, one that waits to be handed over
    in_hand, ahead = 3 * 2, 2 * 2 + 1
    assert in_hand < tally.computed <= in_hand + ahead


def test_slow_reads_overlap_and_no_more_is_decoded_at_once_than_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, now, most = Lock(), Counter[str](), Counter[str]()

    def slowly(step: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: object) -> Any:
            with lock:
                now[step] += 1
                most[step] = max(most[step], now[step])
            time.sleep(0.02)
            with lock:
                now[step] -= 1
            return do(*arguments)

        return slow

    class FarAway:
        read = staticmethod(slowly("read", lambda path, size: (root / path).read_bytes()))

    monkeypatch.setattr("bottleneck.extraction.conveyor.open_place", lambda _: FarAway)
    monkeypatch.setattr("bottleneck.extraction.conveyor.decode", slowly("decode", decode))
    convey(root, tmp_path, MeanColour(), workers=2)
    assert most["read"] > 2 == most["decode"]
    assert len(sealed(tmp_path)) == COUNT


def test_it_says_which_stage_held_it_back() -> None:
    assert ExtractionStatistics().bottleneck == ""
    assert ExtractionStatistics(awaited=9, starved=1, read=3, base=10).bottleneck == "base"
    assert (
        ExtractionStatistics(awaited=1, starved=9, read=3, decode=2, base=10).bottleneck == "read"
    )
    assert ExtractionStatistics(awaited=1, starved=9, read=2, decode=3).bottleneck == "decode"
    assert ExtractionStatistics(awaited=1, blocked=9).bottleneck == "write"


def test_time_the_base_had_two_batches_in_hand_counts_once() -> None:
    tally = ExtractionStatistics()
    for began, ended in [(0.0, 2.0), (1.0, 3.0), (1.5, 2.5), (5.0, 6.0)]:
        tally.ran(began, ended)
    assert tally.base == 4.0


def test_a_slow_base_and_slow_decoding_are_told_apart(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(MeanColour):
        def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
            time.sleep(0.05)
            return super().features(pixels)

    (tmp_path / "base").mkdir()
    (tmp_path / "decode").mkdir()
    slow_base = convey(root, tmp_path / "base", Slow(in_flight=2), batch_size=4)
    assert slow_base.bottleneck == "base"

    def slow_decode(*arguments: object) -> NDArray[np.uint8]:
        time.sleep(0.05)
        return decode(*arguments)

    monkeypatch.setattr("bottleneck.extraction.conveyor.decode", slow_decode)
    slow = convey(root, tmp_path / "decode", MeanColour(in_flight=2), batch_size=4, workers=1)
    assert slow.bottleneck == "decode"
