"""Killed in any phase, or on several devices: the same weights."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck.bases.backend import load_keras
from bottleneck.errors import BottleneckError
from bottleneck.finetuning.checkpoint import read_checkpoint
from bottleneck.finetuning.settings import Settings
from tests.commandline import Cli, command
from tests.finetuning.conftest import BASE
from tests.pictures import extract_here

# An epoch takes a few hundredths of a second: enough of them to come between.
STAGES = "conv_pw_12:20@1e-4,conv_pw_11:20@1e-4"
OPTIONS = ("--stages", STAGES, "--dropout", 0.2, "--augment", "flip,rotate=9", "--views", 2)


def trained(path: Path) -> list[np.ndarray]:
    model = load_keras().models.load_model(path / "model.keras", safe_mode=True)
    return [np.asarray(variable) for variable in model.weights]


def epochs(folder: Path) -> int:
    try:
        return len(read_checkpoint(folder).history)
    except BottleneckError:
        return -1


@pytest.fixture(scope="module")
def own_run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose cache holds no activations yet."""
    folder = tmp_path_factory.mktemp("own")
    extract_here(images, folder / "cache", **BASE)
    return bottleneck.fit_head(folder / "cache", out=folder / "run", params={"C": 1e-4}).path


# The command line, in a process that kills itself when it does something for so many times: no moment is missed.
DOOMED = """
import os, re, signal, sys
_, what, times, *arguments = sys.argv
times = int(times)

def look(event, given):
    global times
    if event in ("open", "os.mkdir", "os.rename") and re.search(what, " ".join(map(str, (event, *given)))):
        times -= 1
        if not times:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
sys.argv = ["bottleneck", *arguments]
from bottleneck.cli.main import main
main()
"""


@pytest.mark.long
def test_killed_in_each_phase_it_ends_with_the_weights_of_an_undisturbed_run(
    own_run: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "killed"
    arguments = command("finetune", own_run, *OPTIONS, "--from-cache", "--out", out)[1:]
    last_moments = [
        ("os.mkdir .*/killed.unfinished", 1),  # the plan is made
        ("os.rename .*-conv_pw_11_relu-none-.*/shard-", 1),  # activations are being cached
        ("os.rename .*/checkpoint.npz", 1),  # before the first epoch
        ("os.rename .*/checkpoint.npz", 2),
        ("os.rename .*/checkpoint.npz", 11),
        ("os.rename .*/checkpoint.npz", 10),  # about where the first stage ends
        ("os.rename .*/checkpoint.npz", 9),
        ("open .*/model.keras", 1),  # the run is being written
    ]
    for what, times in last_moments:
        doomed = [sys.executable, "-c", DOOMED, what, str(times), *arguments]
        process = subprocess.run(doomed, capture_output=True, text=True, check=False)
        assert process.returncode == -signal.SIGKILL, f"{what}: {process.stderr}"
    assert not out.exists()
    cli("finetune", own_run, *OPTIONS, "--from-cache", "--out", out)
    cli("finetune", own_run, *OPTIONS, "--from-cache", "--out", tmp_path / "undisturbed")
    for one, other in zip(trained(out), trained(tmp_path / "undisturbed"), strict=True):
        assert one.tobytes() == other.tobytes()
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"killed", "undisturbed"}


@pytest.mark.long
def test_interrupted_live_training_continues_only_with_the_same_stages(
    own_run: Path, tmp_path: Path, cli: Cli
) -> None:
    out, folder = tmp_path / "run", tmp_path / "run.unfinished"
    arguments = command("finetune", own_run, *OPTIONS, "--live", "--out", out)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while epochs(folder) < 1 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "run the same command again to continue after the last epoch" in said
    with pytest.raises(BottleneckError, match=r"had another stages.*--out"):
        bottleneck.finetune(own_run, "head:1@1e-3", mode="live", out=out)
    process = cli(*arguments[1:])
    assert "Continuing after" in process.stderr
    assert (out / "model.keras").exists()


@pytest.mark.long
def test_a_damaged_checkpoint_is_an_error_that_names_it(own_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run.unfinished"
    folder.mkdir()
    (folder / "checkpoint.npz").write_bytes(b"PK\x03\x04 nothing more")
    with pytest.raises(BottleneckError, match=r"checkpoint.npz is damaged.*delete"):
        bottleneck.finetune(own_run, "head:1@1e-3", mode="live", out=tmp_path / "run")
    shutil.rmtree(folder)


SCRIPT = """
import sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import bottleneck
from bottleneck.finetuning.settings import Settings
bottleneck.finetune(
    sys.argv[1], "conv_pw_12:3@1e-3", Settings(batch_size=7, class_weight="balanced"),
    mode="live", devices=int(sys.argv[3]), out=sys.argv[2],
)
"""


@pytest.mark.long
def test_two_devices_train_as_one_does(own_run: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        subprocess.run(
            [sys.executable, "-c", SCRIPT, own_run, tmp_path / str(count), str(count)], check=True
        )
    one, two = ((tmp_path / str(count) / "history.csv").read_text() for count in (1, 2))
    losses = [[float(line.split(",")[4]) for line in text.splitlines()[2:]] for text in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for a, b in zip(trained(tmp_path / "1"), trained(tmp_path / "2"), strict=True):
        # Adam moves each weight by about the rate in each of the first steps, whatever its gradient
        assert a == pytest.approx(b, abs=2e-3)


def test_too_many_devices_are_an_error(own_run: Path, tmp_path: Path) -> None:
    with pytest.raises(BottleneckError, match=r"--devices 9 asks for more"):
        bottleneck.finetune(own_run, "head:1@1e-3", Settings(), devices=9, out=tmp_path / "run")
