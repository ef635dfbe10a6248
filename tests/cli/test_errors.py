"""Wrong input gets one clear line and exit 1 or 2, never a traceback; and nothing is lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bottleneck.cache.listing import VERSION
from tests.commandline import Cli, one_line
from tests.commandline import command as command_line

QUICK = ("--weights", "random", "--image-size", "75")


@pytest.fixture
def place(few_images: Path, few_cache: Path, few_run: Path, tmp_path: Path) -> Path:
    """A folder with pictures, their cache, a run, and what else a user may point at by mistake."""
    shutil.copytree(few_images, tmp_path / "images")
    shutil.copytree(few_cache, tmp_path / "cache")
    shutil.copytree(few_run, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    (tmp_path / "set.csv").write_text("image_name,class\ngone.jpg,flower\n")
    (tmp_path / "gone.csv").write_text("path,label\ngone.jpg,flower\ntoo.jpg,flower\n")
    (tmp_path / "bad.weights.h5").write_text("no weights")
    (tmp_path / "weights.txt").write_text("no weights")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("extract nowhere --cache c", ["no such folder or file: nowhere"]),
        ("extract empty --cache c", ["no pictures in empty", ".jpg"]),
        ("extract text --cache c", ["no pictures in text", "passed over: .txt"]),
        ("extract set.csv --cache c", ["no column 'path'", "image_name, class", "--path-column"]),
        (
            "extract set.csv --cache c --path-column image_name --label-column kind",
            ["'kind'", "--label-column"],
        ),
        (
            "extract gone.csv --cache c",
            ["names 2 of 2 files that do not exist", "--root", "--skip-missing"],
        ),
        (
            "extract images --cache c --base inception_v2",
            ["unknown base", "did you mean inception_v"],
        ),
        ("extract images --cache c --base zzz", ["unknown base 'zzz'", "--base", "bases list"]),
        ("extract images --cache c --base densenet121", ["did you mean DenseNet121"]),
        (
            "extract images --cache c --base DenseNet121 --drop-blocks 1",
            ["the blocks of DenseNet121 are not listed", "--tap", "bases show DenseNet121"],
        ),
        (
            "extract images --cache c --base vgg16 --preprocessing tf",
            ["vgg16 has its own preprocessing", "--preprocessing"],
        ),
        (
            "extract images --cache c --base gone.keras --preprocessing tf",
            ["no file gone.keras", "bottleneck bases list", ".keras"],
        ),
        (
            "extract images --cache c --image-size 74",
            ["image size 74 is too small", "75", "--image-size"],
        ),
        (
            "extract images --cache c --tap mixed11",
            ["no tap 'mixed11'", "did you mean mixed1", "bases show inception_v3", "--tap"],
        ),
        (
            "extract images --cache c --weights gone.h5",
            ["no weights file gone.h5", "imagenet, random"],
        ),
        (
            "extract images --cache c --weights weights.txt",
            ["weights.txt is no weights file", ".keras"],
        ),
        (
            "extract images --cache c --weights bad.weights.h5",
            ["bad.weights.h5 is not a readable HDF5 file"],
        ),
        (
            "extract images --cache images/train/flower/00.jpg",
            ["cannot write to the cache", "--cache"],
        ),
        ("fit-head nowhere --head logistic", ["no cache at nowhere", "bottleneck extract IMAGES"]),
        ("fit-head cache --head stump", ["unknown head 'stump'", "logistic, softmax"]),
        ("fit-head cache --head logistic --param depth=3", ["no parameter 'depth'", "C, max_iter"]),
        ("fit-head cache --head logistic --recipe vgg16", ["no recipe 'vgg16'", "--recipe"]),
        ("fit-head cache --head logistic --out run", ["run exists already", "--out"]),
        ("predict nowhere images", ["no run at nowhere", "bottleneck fit-head"]),
        ("predict run nowhere", ["no such folder or file: nowhere"]),
        (
            "predict run images --cache cache --out no/such/folder.csv",
            ["cannot write no/such", "--out"],
        ),
        ("cache info nowhere", ["no cache at nowhere"]),
        ("cache verify nowhere", ["no cache at nowhere"]),
        ("cache repair nowhere", ["no cache at nowhere"]),
        ("cache prune nowhere", ["no cache at nowhere"]),
        ("cache explain cache nothing.jpg", ["'nothing.jpg' is not in the listing"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    place: Path, cli: Cli, arguments: str, said: list[str]
) -> None:
    quick = QUICK if arguments.startswith("extract") else ()
    given = arguments.split()
    process = cli(*given[:1], *quick, *given[1:], check=False, cwd=place)
    line = one_line(process, code=1)
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("extract images", "--cache"),
        ("extract images --cache c --imagesize 75", "--imagesize"),
        ("extract images --cache c --image-size large", "valid integer"),
        ("extract images --cache c --pool mean", "mean"),
        ("extract images --cache c --batch-size 0", "greater than or equal to 1"),
        ("fit-head cache", "--head"),
        ("fit-head cache --head logistic --param C", "NAME=VALUE"),
        ("cache mend cache", "mend"),
        ("extrac images", "extrac"),
    ],
)
def test_wrong_usage_is_told_in_one_line_with_exit_2(
    place: Path, cli: Cli, arguments: str, said: str
) -> None:
    line = one_line(cli(*arguments.split(), check=False, cwd=place), code=2)
    assert said in line
    assert "--help" in line


def test_a_cache_of_a_newer_format_is_refused_and_left_alone(place: Path, cli: Cli) -> None:
    listing = place / "cache" / "listing.h5"
    newer = VERSION + 1
    before = listing.read_bytes().replace(b"listing %d" % VERSION, b"listing %d" % newer, 1)
    listing.write_bytes(before)
    for command in (
        ["extract", "images", "--cache", "cache", *QUICK],
        ["fit-head", "cache", "--head", "logistic"],
    ):
        line = one_line(cli(*command, check=False, cwd=place))
        assert f"format version {newer}" in line
        assert "pip install --upgrade bottleneck-features" in line
    assert listing.read_bytes() == before


def test_a_recipe_of_a_newer_format_is_refused_and_left_alone(place: Path, cli: Cli) -> None:
    (file,) = place.glob("cache/features/*/recipe.json")
    content = json.loads(file.read_text()) | {"version": 2}
    file.write_text(json.dumps(content))
    line = one_line(cli("extract", "images", "--cache", "cache", *QUICK, check=False, cwd=place))
    assert "format version 2" in line
    assert json.loads(file.read_text()) == content


def test_a_forged_run_writes_nothing_outside_the_cache(place: Path, cli: Cli) -> None:
    file = place / "run" / "run.json"
    content = json.loads(file.read_text())
    content["recipes"][0]["tap"] = "x/../../../../victim/pwn"
    file.write_text(json.dumps(content))
    (place / "victim").mkdir()
    before = sorted(place.rglob("*"))
    line = one_line(cli("predict", "run", "images", "--cache", "cache", check=False, cwd=place))
    assert "recipes[0].tap" in line
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", ["cache info cache", "cache info cache --json", "predict run images --cache cache"]
)
def test_a_full_disk_behind_stdout_is_said_in_one_line(place: Path, arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            command_line(*arguments.split()),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=place,
            check=False,
        )
    assert process.returncode == 1
    assert "Error: cannot write to stdout: No space left on device" in process.stderr
    assert "bug" not in process.stderr
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr


@pytest.mark.parametrize(
    "arguments", ["cache info cache", "predict run images --cache cache", "bases list"]
)
def test_a_reader_that_has_enough_is_no_error(place: Path, arguments: str) -> None:
    process = subprocess.Popen(
        command_line(*arguments.split()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 0
    assert "Error" not in said
    assert "BrokenPipe" not in said


def test_an_end_of_file_is_no_interruption(place: Path, cli: Cli) -> None:
    fault = "import socket\ndef end():\n    raise EOFError('no data')\nsocket.gethostname = end"
    (place / "sitecustomize.py").write_text(fault)
    process = cli(
        *("extract", "images", "--cache", "cache", *QUICK),
        check=False,
        cwd=place,
        env={"PYTHONPATH": str(place)},
    )
    assert "unexpected EOFError: no data" in one_line(process)
    assert "Interrupted" not in process.stderr


def test_a_bug_is_one_line_and_debug_shows_the_traceback(place: Path, cli: Cli) -> None:
    # a fault nobody thinks of: this machine does not know its name
    fault = "import socket\nsocket.gethostname = lambda: {}['out of cheese']"
    (place / "sitecustomize.py").write_text(fault)
    options = {"check": False, "cwd": place, "env": {"PYTHONPATH": str(place)}}
    command = ("extract", "images", "--cache", "cache", *QUICK)
    line = one_line(cli(*command, **options))
    assert (
        "unexpected KeyError: 'out of cheese' (this is a bug in bottleneck; --debug shows" in line
    )
    loud = cli(*command, "--debug", **options)
    assert loud.returncode == 1
    assert "out of cheese" in loud.stderr
    assert "Traceback" in loud.stderr


def test_no_arguments_show_what_there_is(cli: Cli) -> None:
    process = cli(check=False)
    for command in ("extract", "fit-head", "predict", "cache", "demo"):
        assert command in process.stdout + process.stderr
    assert "Traceback" not in process.stderr


def test_the_package_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "bottleneck", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.startswith("bottleneck ")
