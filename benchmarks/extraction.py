"""From JPEG files to features, ours against others: `python -m benchmarks.extraction`."""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import write_photographs
from benchmarks.results import RESULTS, Results, table
from benchmarks.timing import alternate
from bottleneck.bases.anatomy import describe_taps
from bottleneck.bases.backend import load_keras
from bottleneck.bases.registry import find_base
from bottleneck.bases.weights import build_with_weights, find_weights
from bottleneck.extraction.conveyor import Settings, run_task
from bottleneck.extraction.engines.openvino_engine import SETTINGS, convert, load_openvino
from bottleneck.extraction.engines.protocol import BATCH_SIZE, EngineName
from bottleneck.extraction.engines.start import start_engine
from bottleneck.extraction.plan import Target, Task, missing_items
from bottleneck.extraction.progress import no_progress
from bottleneck.extraction.request import make_request
from bottleneck.extraction.scan import recall
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.extraction.statistics import ExtractionStatistics
from bottleneck.images.source import read_source

Job = Callable[[], None]

# Side of the matrices whose product is the measure of what the cores can do: large enough to reach
# the product's own rate, small enough for a cache.
SIDE = 1024


@dataclass(frozen=True)
class Setup:
    """What is measured: pictures of a folder, at a size, with some weights."""

    pictures: Path
    scratch: Path
    weights: str
    size: int


def conveyor(setup: Setup, engine: EngineName, **options: Any) -> Job:
    """List, read, hash, decode, run and seal, with a network that is built already."""
    wanted = make_request(
        FeatureSpec("inception_v3", setup.weights, image_size=setup.size, **options)
    )
    network = wanted.build_network()
    runner = start_engine(network, engine, BATCH_SIZE)
    targets = [
        Target(recipe, range(1), cached={}) for recipe in wanted.recipes(network.weights_digest)
    ]

    def job() -> None:
        settings = Settings()
        listing = recall(
            read_source(setup.pictures),
            None,
            workers=settings.workers,
            retry_failed=False,
            progress=no_progress,
        )
        with tempfile.TemporaryDirectory(dir=setup.scratch) as shards:
            for target in targets:
                (Path(shards) / target.recipe.id).mkdir()
            run_task(
                Task(missing_items(listing.not_failed, targets)),
                root=listing.root,
                features=Path(shards),
                targets=targets,
                start=lambda: runner,
                settings=settings,
                tally=ExtractionStatistics(),
                done=lambda _: None,
            )

    return job


def synthetic(setup: Setup, count: int) -> Job:
    """OpenVINO's own rate: as many pictures, there already, through its own queue."""
    openvino = load_openvino()
    model = convert(
        make_request(
            FeatureSpec("inception_v3", setup.weights, image_size=setup.size)
        ).build_network()
    )
    shape = (BATCH_SIZE, setup.size, setup.size, 3)
    model.reshape(list(shape))
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", SETTINGS))
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def job() -> None:
        for _ in range(-(-count // BATCH_SIZE)):
            queue.start_async({0: pixels})
        queue.wait_all()

    return job


def articles(setup: Setup) -> Job:
    """The way of the articles: Keras reads the folder, `predict` gives maps, NumPy their means."""
    keras = load_keras()
    model = build_with_weights(find_base("inception_v3"), find_weights(setup.weights), setup.size)

    def job() -> None:
        images = keras.utils.image_dataset_from_directory(
            setup.pictures, shuffle=False, image_size=(setup.size, setup.size), verbose=False
        )
        prepared = images.map(lambda x, _: keras.applications.inception_v3.preprocess_input(x))
        rows = model.predict(prepared, verbose=0).mean(axis=(1, 2))
        np.save(setup.scratch / "articles.npy", rows)

    return job


def tuned(setup: Setup) -> Job:
    """tf.data as its guide tunes it: parallel decoding, prefetching, the whole step one graph."""
    keras = load_keras()
    import tensorflow as tf

    whole = build_with_weights(find_base("inception_v3"), find_weights(setup.weights), setup.size)
    model = keras.Model(whole.input, keras.layers.GlobalAveragePooling2D()(whole.output))
    files = [str(file) for file in jpegs(setup.pictures)]

    def decode(file: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
        return tf.image.resize(image, (setup.size, setup.size))

    @tf.function(input_signature=[tf.TensorSpec((None, setup.size, setup.size, 3), tf.float32)])
    def step(pixels: Any) -> Any:
        return model(pixels / 127.5 - 1, training=False)

    def job() -> None:
        batches = (
            tf.data.Dataset.from_tensor_slices(files)
            .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(BATCH_SIZE)
            .prefetch(tf.data.AUTOTUNE)
        )
        np.save(setup.scratch / "tuned.npy", np.concatenate([step(x).numpy() for x in batches]))

    return job


def products(setup: Setup, count: int) -> Job:
    """The floor: the multiply-adds of as many pictures, in products of matrices and nothing else."""
    work = describe_taps(find_base("inception_v3"), setup.size)[-1].multiply_adds_below * count
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    C = np.empty_like(A)

    def job() -> None:
        for _ in range(max(round(work / SIDE**3), 1)):
            np.matmul(A, B, out=C)

    return job


@contextlib.contextmanager
def peer(python: Path, kind: str, setup: Setup) -> Iterator[Job]:
    """Start a peer in its own environment; it runs when it is told to."""
    process = subprocess.Popen(
        [python, Path(__file__).with_name("peer.py"), kind, setup.pictures, str(setup.size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ask, answers = process.stdin, process.stdout

    def job() -> None:
        print("run", file=ask, flush=True)
        # whatever its libraries say comes before
        if not any(line.startswith("done") for line in iter(answers.readline, "")):
            raise RuntimeError(f"the peer {kind} has ended; run it by hand: {process.args}")

    try:
        yield job
    finally:
        process.kill()
        process.wait()


def jpegs(folder: Path) -> list[Path]:
    """The JPEG files of a folder; not every peer reads other formats."""
    return sorted(file for file in folder.rglob("*") if file.suffix in {".jpg", ".jpeg"})


def machine() -> dict[str, Any]:
    """What a figure depends on besides the programs."""
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("tensorflow", "keras", "openvino", "pillow")},
        "load": round(os.getloadavg()[0], 2),
    }


def measure(setup: Setup, rounds: int, peers: Path | None) -> Results:
    """Time everything in turn."""
    count = len(jpegs(setup.pictures))
    jobs: dict[str, Job] = {
        "the articles' way": articles(setup),
        "bottleneck, OpenVINO": conveyor(setup, "openvino"),
        "OpenVINO, synthetic input": synthetic(setup, count),
        "bottleneck, TensorFlow": conveyor(setup, "keras"),
        "tf.data tuned by hand": tuned(setup),
        "products of matrices": products(setup, count),
    }
    with contextlib.ExitStack() as stack:
        if peers is not None:
            for name, kind in (("PyTorch, compiled", "torch"), ("ONNX Runtime", "onnx")):
                jobs[name] = stack.enter_context(peer(peers, kind, setup))
        return Results(machine(), count, setup.size, alternate(jobs, rounds))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few and small pictures, one round")
    parser.add_argument("--pictures", type=Path, help="a folder of class folders of JPEG files")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with the peers")
    parser.add_argument("--out", type=Path, default=RESULTS / "extraction.json")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pictures = given.pictures or scratch / "photos"
        if given.pictures is None:
            write_photographs(pictures, 16 if given.short else 96)
        setup = Setup(pictures, scratch, given.weights, 75 if given.short else 299)
        results = measure(setup, 1 if given.short else given.rounds, given.peers)
    print(table(results))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(results.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    main()
