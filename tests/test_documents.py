"""Every command line in README and docs runs, and every link leads somewhere."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from bottleneck.cli.main import build
from bottleneck.heads.registry import HEADS
from tests.pictures import write_crops

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# The ImageNet weights may not be within reach, and 299 pixels take long.
QUICK = "--weights random --base mobilenet_0.25 --image-size"
SIZE = 64

# Runs the largest of bases, which take no fewer pixels, and trains some of them.
RECIPES = ROOT / "docs" / "recipes.md"
LEAST = 75

# Its examples run in processes that have nothing of ours, on what its command lines wrote:
# tests/serve/test_serving.py
ELSEWHERE = ROOT / "docs" / "serving.md"
# Its workers are processes that load TensorFlow, and its bucket is on a server.
SCALE = ROOT / "docs" / "scale.md"
RUN_HERE = [
    pytest.param(document, marks=pytest.mark.long if document in {RECIPES, SCALE} else ())
    for document in DOCUMENTS
    if document != ELSEWHERE
]

ids = [str(document.relative_to(ROOT)) for document in DOCUMENTS]
ids_here = [name for name in ids if name != "docs/serving.md"]


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path) -> Path:
    """A folder for one document alone."""
    return shutil.copytree(prepared, tmp_path / "here")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, photographs: list[Image.Image]) -> Path:
    """What the documents take for granted: pictures, new ones, a CSV, a cache, runs."""
    folder = tmp_path_factory.mktemp("documents")
    lines = ["image_name,kind"]
    for name, photograph in zip(("flower", "temple"), reversed(photographs), strict=True):
        write_crops(folder / "photos" / name, photograph, 8, seed=1)
        lines += [f"{name}/{number:02d}.jpg,{name}" for number in range(8)]
    write_crops(folder / "new", photographs[0], 3, seed=2)
    (folder / "labels.csv").write_text("\n".join(lines))
    shutil.make_archive(str(folder / "photos"), "zip", folder, "photos")
    run(folder, "bottleneck extract photos --cache cache/photos")
    run(folder, "bottleneck fit-head cache/photos --head logistic --out runs/photos-logistic")
    shutil.copytree(folder / "runs" / "photos-logistic", folder / "runs" / "photos-logistic-2")
    return folder


def run(folder: Path, line: str, size: int = SIZE) -> None:
    """Run a command line in this process: most of what one of its own takes is to load TensorFlow."""
    program, command, *rest = shlex.split(line, comments=True)
    assert program == "bottleneck"
    if command == "extract":
        rest = [*shlex.split(QUICK), str(size), *rest]  # what the line itself says comes later
    with contextlib.chdir(folder):
        done = CliRunner().invoke(build(command), [command, *rest])
    assert done.exit_code == 0, f"{line}: {done.exception!r} {done.output}"


class Cluster:
    """The scheduler and the workers that a document starts, on a port that is free."""

    ADDRESS = "head-node:8786"

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        self.file = folder / "scheduler.json"

    def start(self, line: str) -> None:
        if line.endswith("dask scheduler"):
            line += f" --host 127.0.0.1 --port 0 --scheduler-file {self.file}"
        program = str(Path(sys.executable).with_name("dask"))
        line = self.found(line).replace("dask ", f"exec {shlex.quote(program)} ", 1)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.processes.append(subprocess.Popen(line, shell=True, cwd=self.folder, env=environment))
        while not self.file.exists():
            assert self.processes[0].poll() is None
            time.sleep(0.05)

    def found(self, line: str) -> str:
        """Give a line with the scheduler's address in place of the document's."""
        if self.ADDRESS not in line:
            return line
        address = json.loads(self.file.read_text())["address"]
        return line.replace(self.ADDRESS, address.removeprefix("tcp://"))

    def stop(self) -> None:
        for process in reversed(self.processes):  # the scheduler last
            process.terminate()
        for process in self.processes:
            process.wait(60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("document", RUN_HERE, ids=ids_here)
def test_every_command_line_runs(
    document: Path, workplace: Path, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    if document == SCALE:
        store = request.getfixturevalue("store")
        bucket = store.bucket("bucket")
        store.put_folder(workplace / "photos", f"{bucket}/photos")
        store.put(f"{bucket}/photos.zip", (workplace / "photos.zip").read_bytes())
    for kind, text in BLOCK.findall(document.read_text()):
        # Mermaid diagrams have nothing to run
        assert kind in {"sh", "python", "mermaid"}, f"what is a {kind} block? nothing runs it"
        if kind != "sh":
            continue
        for line in filter(None, text.splitlines()):
            if line == "source .venv/bin/activate":
                assert (ROOT / ".venv").name in (ROOT / "Makefile").read_text()
            elif line.startswith("make "):
                target = shlex.split(line, comments=True)
                subprocess.run([*target, "--dry-run"], cwd=ROOT, check=True, capture_output=True)
            elif " dask " in f" {line}":
                cluster.start(line)
            else:
                run(workplace, cluster.found(line), LEAST if document == RECIPES else SIZE)


@pytest.mark.parametrize("document", RUN_HERE, ids=ids_here)
def test_every_python_example_runs(
    document: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bottleneck
    from tests.pictures import extract_here

    monkeypatch.chdir(workplace)
    quick = {"base": "mobilenet_0.25", "weights": "random", "image_size": 64}
    monkeypatch.setattr(bottleneck, "extract", partial(extract_here, **quick))
    features = partial(bottleneck.BottleneckFeatures, **quick)
    monkeypatch.setattr(bottleneck, "BottleneckFeatures", features, raising=False)
    for kind, text in BLOCK.findall(document.read_text()):
        if kind == "python":
            exec(compile(text, document.name, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_every_head_and_base_is_documented() -> None:
    from bottleneck.bases.registry import BASES

    for names, document in ((HEADS, "heads.md"), (BASES, "bases.md")):
        text = (ROOT / "docs" / document).read_text()
        for name in names:
            assert re.search(rf"^\|.*`{re.escape(name)}`", text, re.MULTILINE), name


def test_every_dependency_is_documented() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        assert re.split(r"[<>=]", requirement)[0] in text


def test_the_constraints_name_no_index_and_no_host() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.!+-]+|#.*|", line), line
