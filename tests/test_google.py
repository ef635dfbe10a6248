"""Pictures, caches and runs on a server of Google's kind, through gcsfs as its users have it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bottleneck.cache.store import FeatureCache
from tests.commandline import Cli, last_json, one_line
from tests.store import Store, running_google_store

SMALL = ("--base", "mobilenet_0.25", "--weights", "random", "--image-size", "32")


@pytest.fixture(scope="module")
def google() -> Iterator[Store]:
    with running_google_store("bucket") as store:
        yield store


@pytest.fixture
def environment(google: Store, tmp_path: Path) -> dict[str, str]:
    google.faults.clear()
    google.asked.clear()
    return {**os.environ, **google.environment, "BOTTLENECK_MIRROR": str(tmp_path / "mirrors")}


@pytest.mark.long
def test_all_is_there_what_it_is_here(
    google: Store, environment: dict[str, str], images: Path, tmp_path: Path, cli: Cli
) -> None:
    def run(*arguments: object) -> dict[str, object]:
        found: dict[str, object] = last_json(cli(*arguments, "--json", env=environment))
        return found

    run("extract", images, "--cache", tmp_path / "cache", *SMALL)
    send = "import sys, fsspec; fsspec.filesystem('gs').put(*sys.argv[1:], recursive=True)"
    subprocess.run(
        [sys.executable, "-c", send, f"{images}", f"{google.url}/photos"],
        env=environment,
        check=True,
    )
    there = f"{google.url}/cache"
    assert run("extract", f"{google.url}/photos", "--cache", there, *SMALL)["computed"] == 40
    again = run("extract", f"{google.url}/photos", "--cache", there, *SMALL)
    assert (again["computed"], again["reused"]) == (0, 40)
    heads = [
        run("fit-head", cache, "--head", "logistic", "--out", out)["metrics"]
        for cache, out in ((tmp_path / "cache", tmp_path / "run"), (there, f"{google.url}/run"))
    ]
    assert heads[0] == heads[1]
    for model, out in ((tmp_path / "run", "here.csv"), (f"{google.url}/run", "there.csv")):
        run("predict", model, images, "--out", tmp_path / out)
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    shards = list((tmp_path / "mirrors").rglob("shard-*.h5"))
    assert shards
    mirrored = FeatureCache(shards[0].parents[2]).load().X
    assert np.array_equal(mirrored, FeatureCache(tmp_path / "cache").load().X)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("403", "no access to gs://bucket/photos"),
        # gcsfs asks six times, which takes half a minute
        pytest.param("503", "gs://bucket/photos cannot be reached: the", marks=pytest.mark.long),
    ],
)
def test_a_fault_that_stays_is_told_in_a_line(
    fault: str, said: str, google: Store, environment: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    google.faults.append([".", fault, 1000])
    line = one_line(
        cli(
            *("extract", f"{google.url}/photos", "--cache", tmp_path / "cache"),
            check=False,
            env=environment,
        )
    )
    assert said in line
    assert google.count("GET") <= 6
