"""docs/serving.md: its command lines, and its examples where nothing of ours is installed."""

import contextlib
import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bottleneck.cli.main import build
from tests.commandline import Cli, last_json
from tests.pictures import extract_here, write_crops
from tests.test_documents import BLOCK, ELSEWHERE

SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)

# As if ours were not installed; what an example found is printed last.
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "bottleneck": raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
try:
    import bottleneck
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("it should not be importable")
"""
FOUND = "\nprint(json.dumps([classes, probabilities.tolist()]))\n"


def examples() -> dict[str, str]:
    """The example of each section, after the lines all of them go on from."""
    text = ELSEWHERE.read_text()
    blocks = {
        title: code
        for title, section in SECTION.findall(text)
        for kind, code in BLOCK.findall(section)
        if kind == "python"
    }
    common = blocks.pop("From an image to pixels")
    return {title: common + code for title, code in blocks.items()}


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, photographs: list[Image.Image], cli: Cli
) -> Path:
    """A folder with a run, where the command lines were run."""
    import bottleneck

    folder = tmp_path_factory.mktemp("serving")
    # parts of the same photograph in both classes: no head can be sure of anything
    for seed, name in enumerate(("flower", "temple")):
        write_crops(folder / "photos" / name, photographs[0], 12, seed)
    write_crops(folder / "new", photographs[0], 1, seed=9)
    extract_here(folder / "photos", folder / "cache", base="mobilenet_0.25", image_size=64)
    run = folder / "runs" / "photos-logistic"
    bottleneck.fit_head(folder / "cache", out=run, params={"C": 0.01})
    for kind, text in BLOCK.findall(ELSEWHERE.read_text()):
        for line in filter(None, text.splitlines()) if kind == "sh" else ():
            words = shlex.split(line)[1:]
            if "--json" in words:
                said = cli(*words, cwd=folder)
                assert "largest difference from the run's own probabilities" in said.stderr
                assert last_json(said)["largest_difference"] <= 1e-4
            else:  # here, where TensorFlow is loaded already
                with contextlib.chdir(folder):
                    build(words[0])(words, standalone_mode=False)
    return folder


# One test for all, so that the exports are made by one process however tests are shared out.
@pytest.mark.long
def test_each_example_predicts_what_predict_does_without_our_package(
    served: Path, cli: Cli
) -> None:
    cli("predict", "runs/photos-logistic", "new", "--out", "own.csv", cwd=served)
    with (served / "own.csv").open(newline="") as lines:
        own = next(csv.DictReader(lines))
    for title, code in examples().items():
        process = subprocess.run(
            [sys.executable, "-c", ALONE + code + FOUND],
            cwd=served,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        classes, probabilities = json.loads(process.stdout.splitlines()[-1])
        # its files are decoded by TensorFlow, a level of grey beside Pillow here and there
        limit = 1e-2 if title == "TensorFlow Serving" else 1e-4
        assert classes == ["flower", "temple"]
        assert min(probabilities) > 0.01
        for name, p in zip(classes, probabilities, strict=True):
            assert p == pytest.approx(float(own[name]), abs=limit), title


def test_every_format_has_a_section() -> None:
    from bottleneck.serve.formats import FORMATS

    assert len(examples()) == len(FORMATS)
    assert all(
        f"| `{name}` | `{kind.file}" in ELSEWHERE.read_text() for name, kind in FORMATS.items()
    )
