"""The main job as a newcomer meets it."""

import re
import shlex
from pathlib import Path

import pytest

from tests.commandline import Cli, last_json


@pytest.mark.long
def test_the_demo_ends_with_accuracies_and_commands_that_can_be_repeated(
    tmp_path: Path, cli: Cli
) -> None:
    demo = cli("demo", cwd=tmp_path)
    assert len(list(tmp_path.glob("data/digits/*/*.png"))) == 1797
    assert "Nothing had to be computed: 0 of 1,797 images" in demo.stderr
    accuracies = {}
    for line in demo.stdout.splitlines():
        if match := re.match(r"runs/digits-(\w+) +test +\d+ +([\d.]+)", line):
            accuracies[match[1]] = float(match[2])
    assert accuracies.keys() == {"logistic", "softmax"}
    assert min(accuracies.values()) > 0.9  # even random weights tell digits apart
    assert ("RANDOM" in demo.stderr) == ("--weights random" in demo.stdout)
    commands = [
        line.strip() for line in demo.stdout.splitlines() if line.startswith("  bottleneck")
    ]
    again = last_json(cli(*shlex.split(commands[0])[1:], "--json", cwd=tmp_path))
    assert (again["images"], again["computed"]) == (1797, 0)
    assert (
        last_json(cli(*shlex.split(commands[1])[1:], "--json", cwd=tmp_path))["path"]
        == "runs/digits-logistic-2"
    )


@pytest.mark.long
def test_on_ants_and_bees_a_logistic_head_is_right_in_955_of_1000(
    shared: Path, tmp_path: Path, cli: Cli
) -> None:
    data = shared / "data"
    weights = data / "weights" / "inception_v3_partial_notop.weights.h5"
    report = last_json(
        cli(
            "extract",
            data / "hymenoptera",
            "--cache",
            tmp_path / "c",
            "--weights",
            weights,
            "--json",
        )
    )
    # 397 photographs and one GIF that shows no insect, but is a picture: its first frame is taken
    assert (report["images"], report["computed"], report["failed"]) == (398, 398, 0)
    fitted = last_json(
        cli("fit-head", tmp_path / "c", "--head", "logistic", "--out", tmp_path / "run", "--json")
    )
    assert fitted["metrics"]["val"]["images"] == 153
    assert fitted["metrics"]["val"]["accuracy"] >= 0.955
    assert (
        last_json(
            cli(
                "predict",
                tmp_path / "run",
                data / "hymenoptera/val/bees",
                "--cache",
                tmp_path / "c",
                "--json",
            )
        )["failed"]
        == 0
    )


@pytest.mark.long
def test_on_flowers_the_same_two_commands_work(shared: Path, tmp_path: Path, cli: Cli) -> None:
    data = shared / "data"
    weights = data / "weights" / "inception_v3_partial_notop.weights.h5"
    size = ("--image-size", 75)  # a fraction of the time of 299
    cli("extract", data / "flowers", "--cache", tmp_path / "c", "--weights", weights, *size)
    fitted = last_json(
        cli("fit-head", tmp_path / "c", "--head", "logistic", "--out", tmp_path / "run", "--json")
    )
    assert fitted["classes"] == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    assert fitted["metrics"]["val"]["accuracy"] > 0.4  # five classes: chance is 0.2


@pytest.mark.long
def test_mobilenet_reaches_what_a_plain_script_gets(shared: Path, tmp_path: Path, cli: Cli) -> None:
    """0.9216 of the 153: squashed bilinearly, averaged, standardised, logistic regression."""
    data = shared / "data"
    weights = data / "weights" / "mobilenet_0.75_224_notop.weights.h5"
    base = ("--base", "mobilenet_0.75", "--weights", weights)
    cli("extract", data / "hymenoptera", "--cache", tmp_path / "c", *base)
    fitted = last_json(
        cli("fit-head", tmp_path / "c", "--head", "logistic", "--out", tmp_path / "run", "--json")
    )
    assert fitted["metrics"]["val"]["accuracy"] == pytest.approx(0.9216, abs=0.01)
