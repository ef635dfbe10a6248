"""A peer in an environment of its own: `python peer.py torch|onnx FOLDER SIZE`, then a line for each run.

It decodes the JPEG files of a folder with Pillow on two threads beside the network, and averages the
highest map, as the others do. Weights are random: speed does not depend on them.
"""

import contextlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

BATCH = 16


def network() -> Any:
    """InceptionV3 as timm builds it, up to the averaged features."""
    # timm imports torchvision, whose compiled half does not go with PyTorch's build for CPUs; nothing
    # here needs it, but it wants these of its operators to be known
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    import timm

    return timm.create_model("inception_v3", pretrained=False, num_classes=0).eval()


def pytorch() -> Run:
    """Channels last, and compiled where there is a C++ compiler."""
    model = network().to(memory_format=torch.channels_last)
    if shutil.which("g++"):
        model = torch.compile(model)

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # the channels come last in memory, as it wants them
            return model(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()

    return run


def onnx(size: int) -> Run:
    """The same network in ONNX Runtime."""
    import onnxruntime

    file = Path(tempfile.mkdtemp()) / "network.onnx"
    torch.onnx.export(network(), (torch.zeros(BATCH, 3, size, size),), file, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(
        None, {name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
    )[0]


def batches(folder: Path, size: int, pool: ThreadPoolExecutor) -> Iterator[NDArray[np.float32]]:
    """Decode two batches ahead; the last is padded."""

    def decode(file: Path) -> NDArray[np.float32]:
        with Image.open(file) as image:
            image.draft(None, (size, size))
            square = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(square, np.float32) / 127.5 - 1

    files = iter(sorted(file for file in folder.rglob("*") if file.suffix in {".jpg", ".jpeg"}))
    ahead: list[Any] = []
    while True:
        ahead += [pool.submit(decode, f) for f in itertools.islice(files, 3 * BATCH - len(ahead))]
        if not ahead:
            return
        squares = [future.result() for future in ahead[:BATCH]]
        del ahead[:BATCH]
        yield np.stack(squares + squares[:1] * (BATCH - len(squares)))


def main() -> None:
    """Run once for every line on stdin, and answer with one."""
    kind, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    run = pytorch() if kind == "torch" else onnx(size)
    pool = ThreadPoolExecutor(2)
    for _ in sys.stdin:
        features = [run(pixels) for pixels in batches(folder, size, pool)]
        print("done", len(np.concatenate(features)), flush=True)


if __name__ == "__main__":
    main()
