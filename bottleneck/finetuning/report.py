"""Report of fine-tuning: table of epochs, curves, HTML page."""

import base64
import html
import itertools
from collections.abc import Sequence
from pathlib import Path

from bottleneck.finetuning.checkpoint import Epoch
from bottleneck.runs.metrics import Metrics
from bottleneck.runs.run import HEAD, Run, Tuning
from bottleneck.runs.table import write_table

HISTORY, CURVES, REPORT = "history.csv", "curves.png", "report.html"

_COLUMNS = (
    "number",
    "stage",
    "epoch",
    "learning_rate",
    "loss",
    "val_loss",
    "val_accuracy",
    "seconds",
)

# Colours that colour-blind people can distinguish: Okabe and Ito 2008, Color Universal Design.
_TRAIN, _VAL, _HEAD = "#0072b2", "#d55e00", "#767676"
_INCHES, _DPI = (8.0, 3.4), 144


def write_history(
    folder: Path, run: Run, tuning: Tuning, start: Metrics, history: Sequence[Epoch]
) -> None:
    """Write ``history.csv``, ``curves.png`` and ``report.html`` into a run's folder.

    Parameters
    ----------
    folder : Path
    run : Run
    tuning : Tuning
    start : Metrics
        Validation metrics before training.
    history : sequence of Epoch
    """
    first = ["0", "0", "0", "", "", f"{start.log_loss:.6f}", f"{start.accuracy:.6f}", ""]
    lines = [
        [
            *(str(number), str(entry.stage), str(entry.epoch), f"{entry.learning_rate:.3g}"),
            *(f"{value:.6f}" for value in (entry.loss, entry.val.log_loss, entry.val.accuracy)),
            f"{entry.seconds:.3f}",
        ]
        for number, entry in enumerate(history, 1)
    ]
    write_table(folder / HISTORY, _COLUMNS, [first, *lines])
    _draw(folder / CURVES, start, history)
    curves = base64.b64encode((folder / CURVES).read_bytes()).decode()
    (folder / REPORT).write_text(
        _page(run, tuning, [first, *lines], curves), encoding="utf-8", errors="replace"
    )


def _draw(file: Path, start: Metrics, history: Sequence[Epoch]) -> None:
    # imported here: --help does not need it
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    numbers = range(len(history) + 1)
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        left.plot(numbers[1:], [entry.loss for entry in history], "o-", color=_TRAIN, ms=3)
        losses = [start.log_loss, *(entry.val.log_loss for entry in history)]
        left.plot(numbers, losses, "o-", color=_VAL, ms=3)
        left.set_ylabel("loss (nats)")
        left.legend(["training", "validation"], frameon=False)
        accuracies = [start.accuracy, *(entry.val.accuracy for entry in history)]
        right.plot(numbers, accuracies, "o-", color=_VAL, ms=3)
        right.axhline(start.accuracy, color=_HEAD, ls="--", lw=1)
        right.annotate("head alone", (0, start.accuracy), (4, 4), textcoords="offset points")
        right.set_ylabel("validation accuracy")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            for number, (before, entry) in enumerate(itertools.pairwise(history), 1):
                if entry.stage != before.stage:
                    axes.axvline(number + 0.5, color=_HEAD, lw=0.8, ls=":")
        figure.savefig(file, dpi=_DPI, metadata={"Software": None})


def _page(run: Run, tuning: Tuning, lines: Sequence[Sequence[str]], curves: str) -> str:
    stages = [
        [
            each.stage,
            f"{each.trainable:,}",
            f"{each.frozen:,}",
            f"{each.best_epoch} of {each.epochs}",
            *(f"{m.accuracy:.4f} / {m.log_loss:.4f}" for m in (each.before, each.after)),
        ]
        for each in tuning.stages
    ]
    metrics = [
        [
            split,
            f"{head.images:,}",
            *(f"{m.accuracy:.4f} / {m.log_loss:.4f}" for m in (head, tuning.tuned_metrics[split])),
        ]
        for split, head in tuning.head_metrics.items()
    ]
    verdict = (
        "Fine-tuning did not beat the head on the validation split: predictions use the head."
        if tuning.best == HEAD
        else "The fine-tuned network is better than the head on the validation split, by accuracy, then log loss: "
        "predictions use the network."
    )
    warnings = [f"Training ended early: {tuning.stopped}."] if tuning.stopped else []
    if run.random:
        warnings.append(
            "The base's weights were RANDOM: these scores say nothing about a trained base."
        )
    notes = "".join(f"<p><strong>{html.escape(line)}</strong></p>" for line in warnings)
    test_note = (
        "The test split was measured once, at the end, and not used for model selection."
        if "test" in tuning.head_metrics
        else "There is no test split: these scores are of images used for model selection, so they are optimistic."
    )
    recipe = run.recipes[0]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Fine-tuning {html.escape(recipe.base)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #8884; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ width: 100%; background: #fff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} }}
</style></head><body>
<h1>Fine-tuning {html.escape(recipe.base)}</h1>
<p>{html.escape(verdict)}</p>{notes}
<p>{html.escape(f"Started with head {tuning.started_from} on {recipe.tap}; trained on {tuning.trained_on}.")}
{test_note}</p>
<img alt="Loss and accuracy by epoch" src="data:image/png;base64,{curves}">
<h2>Splits</h2>{_table(["split", "images", "head: accuracy / log loss", "fine-tuned"], metrics)}
<h2>Stages</h2>{_table(["stage", "trained", "frozen", "best epoch", "before: accuracy / log loss", "after"], stages)}
<h2>Epochs</h2>{_table(_COLUMNS, lines)}
</body></html>
"""


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
