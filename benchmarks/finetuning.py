"""Fine-tuning from cached activations against fine-tuning on pictures, epoch by epoch in turn."""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import alternate, show
from bottleneck.extraction import conveyor
from bottleneck.extraction.extract import extract
from bottleneck.extraction.progress import no_progress
from bottleneck.finetuning.feed import in_order
from bottleneck.finetuning.graph import freeze_but
from bottleneck.finetuning.material import find_material
from bottleneck.finetuning.prepare import prepare
from bottleneck.finetuning.rates import layer_rates
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import parse_stages
from bottleneck.finetuning.train import (
    batch_size_of,
    compile_model,
    fit_epoch,
    make_batches,
    make_model,
    predict,
)
from bottleneck.heads.fit import fit_head

CUTS = ("mixed9", "mixed8", "mixed7")
ROUNDS = 2


def epochs(images: Path, weights: str, folder: Path) -> None:
    """An epoch above each cut of InceptionV3 at 299 pixels, validation included, live and cached."""
    settings = Settings()
    cache = folder / "cache"
    extract(images, cache, weights=weights)
    run = fit_head(cache, out=folder / "run").path
    for cut in CUTS:
        stages = parse_stages(f"{cut}:1@1e-5")
        jobs = {}
        for name, where in (("cached", cut), ("live", None)):
            prepared = prepare(run, stages, settings, None, None, no_progress)
            graph, part = prepared.graph, prepared.unfrozen[0]
            material = find_material(prepared, where, settings, conveyor.Settings(), no_progress)
            freeze_but(graph, part.layers)
            model = make_model(graph, where, part, settings)
            compile_model(model, layer_rates(graph, settings.layer_decay), settings)

            def epoch(model=model, material=material) -> None:
                train, size = material.numbers("train"), batch_size_of(model, material, settings)
                parts = [train[part] for part in in_order(len(train), size)]
                fit_epoch(model, make_batches(material, parts, 0, settings, size), lambda _: 1e-5)
                predict(model, material, material.numbers("val"), settings.batch_size)

            jobs[name] = epoch
        title = f"An epoch above {cut}, {len(material.y):,} pictures at 299"
        show(title, alternate(jobs, ROUNDS), "cached", len(material.y))


if __name__ == "__main__":
    # python -m benchmarks.finetuning PICTURES WEIGHTS
    with tempfile.TemporaryDirectory() as name:
        epochs(Path(sys.argv[1]), sys.argv[2], Path(name))
