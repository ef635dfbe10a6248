"""`bottleneck compare`."""

from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar
from bottleneck.evaluate.compare import DEFAULT_HEADS
from bottleneck.evaluate.compare import compare as run_compare
from bottleneck.evaluate.comparison import Comparison
from bottleneck.evaluate.intervals import Estimate
from bottleneck.evaluate.names import printable
from bottleneck.runs.metrics import METRICS


def compare(
    caches: Annotated[
        list[str],
        typer.Argument(metavar="CACHE...", help="Folders or URLs of caches of the same images."),
    ],
    heads: Annotated[
        str,
        typer.Option(help='Heads to fit, separated by commas; see fit-head --help. "" for none.'),
    ] = ",".join(DEFAULT_HEADS),
    run: Annotated[
        list[str] | None,
        typer.Option(help="Folder or URL of a saved run to include; may be repeated."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            "--recipes",
            help="Recipes to compare: ids or parts of ids, separated by commas. A+B concatenates A and B.",
            show_default="all",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="The k of top-k accuracy.", show_default="5, or half of the classes"
        ),
    ] = None,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Also fit on fractions of the training split.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Random seed for the split (if one is created), the heads and the intervals.",
        ),
    ] = 0,
    cluster: options.Cluster = None,
    memory: options.Memory = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit heads on cached features and compare them on the same images."""
    with progress_bar() as progress:
        comparison = run_compare(
            caches,
            [name.strip() for name in heads.split(",") if name.strip()],
            runs=run or (),
            recipes=[name for given in recipe or () for name in given.split(",")],
            top_k=top_k,
            learning_curve=learning_curve,
            report=report,
            seed=seed,
            cluster=cluster,
            memory=None if memory is None else memory << 20,
            progress=progress,
        )
    if out is not None:
        comparison.write_csv(out)
    for warning in comparison.findings.warnings:
        terminal.warn(printable(warning))
    for cache, count in comparison.left_out.items():
        if count:
            terminal.say(f"{count} images of {cache} are left out: not all caches have them.")
    if json:
        terminal.result_json(comparison.to_dict())
    else:
        terminal.result(_table(comparison))
        terminal.result("\n".join(["", *map(printable, comparison.words)]))
    if report is not None:
        terminal.say(f"Report: {report}")


def _table(comparison: Comparison) -> str:
    """Format the metrics as a table, each above its 95 % confidence interval."""
    width = max(len("entry"), *(len(entry.name) for entry in comparison.entries))
    titles = [name.replace("_", " ") for name in METRICS]
    titles = [
        {"top k": f"top-{comparison.top_k}", "balanced accuracy": "balanced"}.get(title, title)
        for title in titles
    ]
    titles = [{"calibration error": "calib. error"}.get(title, title) for title in titles]
    head = f"{'entry':<{width}} split  " + "".join(f"{title:>13}" for title in titles)
    lines = [f"{head}{'p':>8}{'fit s':>9}{'µs/image':>10}{'kB':>8}"]
    for entry in comparison.entries:
        for split, scores in entry.scores.items():
            figures = [scores.figures[name] for name in METRICS]
            p = "best" if scores.corrected_p is None else f"{scores.corrected_p:.3f}"
            costs = entry.costs
            took = (
                f"{costs.fit_seconds:>9.2f}{costs.predict_microseconds:>10.1f}{costs.bytes / 1000:>8.0f}"
                if costs and split == "val"
                else ""
            )
            values = "".join(f"{figure.value:>13.3f}" for figure in figures)
            lines += [
                f"{entry.name:<{width}} {split:<6} {values}{p:>8}{took}",
                f"{'':<{width}} {'':<6} "
                + "".join(f"{_interval(figure):>13}" for figure in figures),
            ]
        if not entry.scores:
            lines.append(f"{entry.name:<{width}} failed: {entry.reason}")
    return "\n".join(printable(line).rstrip() for line in lines)


def _interval(figure: Estimate) -> str:
    return f"{figure.low:.3f}–{figure.high:.3f}".replace("0.", ".")
