"""`bottleneck extract`."""

from typing import Annotated

import typer

from bottleneck.cache.store import FeatureCache
from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.extraction.conveyor import SEAL_SECONDS
from bottleneck.extraction.extract import extract as run_extract
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.images.decode import MAX_PIXELS


@options.takes_spec
def extract(
    images: options.Images,
    cache: Annotated[str, typer.Option(help="The cache's folder or URL; made if need be.")],
    spec: FeatureSpec,
    root: options.Root = None,
    path_column: options.PathColumn = "path",
    label_column: options.LabelColumn = None,
    split_column: options.SplitColumn = None,
    skip_missing: options.SkipMissing = False,
    retry_failed: options.RetryFailed = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    engine: options.Engine = "auto",
    seal_seconds: options.SealSeconds = SEAL_SECONDS,
    cluster: options.Cluster = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run a frozen base over an image set and keep its features, computing only what is missing."""
    with progress_bar() as progress:
        report = run_extract(
            images,
            cache,
            **vars(spec),
            root=root,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            skip_missing=skip_missing,
            retry_failed=retry_failed,
            max_pixels=max_pixels,
            batch_size=batch_size,
            workers=workers,
            engine=engine,
            seal_seconds=seal_seconds,
            cluster=cluster,
            progress=progress,
        )
    if json:
        terminal.say(str(report))
        terminal.result_json(report.to_dict())
    else:
        terminal.result(str(report))
        if len(report.recipes) > 1:
            terminal.say(f"Next: bottleneck advise {cache}")
        else:
            several = len(FeatureCache(cache).folders) > 1
            chosen = f" --recipe {report.recipes[0]}" if several else ""
            terminal.say(f"Next: bottleneck fit-head {cache} --head logistic{chosen}")
