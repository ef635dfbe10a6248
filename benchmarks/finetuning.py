"""Fine-tuning from cached activations against fine-tuning on images, epoch by epoch in turn."""

import sys
import tempfile
from pathlib import Path

from benchmarks.timing import alternate, show
from bottleneck.extraction import conveyor
from bottleneck.extraction.extract import extract
from bottleneck.extraction.progress import no_progress
from bottleneck.finetuning.batches import divide_in_order, find_batch_size, make_batches
from bottleneck.finetuning.data import load_training_data
from bottleneck.finetuning.graph import freeze_but
from bottleneck.finetuning.model import compile_model, make_model, predict, train_epoch
from bottleneck.finetuning.prepare import prepare_run
from bottleneck.finetuning.rates import layer_rates
from bottleneck.finetuning.settings import Settings
from bottleneck.finetuning.stages import parse_stages
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
            prepared = prepare_run(run, stages, settings, None, None, no_progress)
            graph, part = prepared.graph, prepared.unfrozen[0]
            data = load_training_data(prepared, where, conveyor.Settings(), no_progress)
            freeze_but(graph, part.layers)
            model = make_model(graph, where, part, settings)
            compile_model(model, layer_rates(graph, settings.layer_decay), settings)

            def epoch(model=model, data=data) -> None:
                train, size = data.indices("train"), find_batch_size(model, data, settings)
                parts = [train[part] for part in divide_in_order(len(train), size)]
                train_epoch(model, make_batches(data, parts, 0, settings, size), lambda _: 1e-5)
                predict(model, data, data.indices("val"), settings.batch_size)

            jobs[name] = epoch
        title = f"An epoch above {cut}, {len(data.y):,} images at 299"
        show(title, alternate(jobs, ROUNDS), "cached", len(data.y))


if __name__ == "__main__":
    # python -m benchmarks.finetuning IMAGES WEIGHTS
    with tempfile.TemporaryDirectory() as name:
        epochs(Path(sys.argv[1]), sys.argv[2], Path(name))
