"""The model card that lies beside an export: what it is, what it takes, how good it is."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bottleneck.bases.backbone import is_backbone
from bottleneck.bases.base import PREPROCESSING, Preprocessing
from bottleneck.bases.registry import find_base
from bottleneck.cache.recipe import Recipe
from bottleneck.runs.run import TUNED, Run
from bottleneck.serve.formats import CLASSES_FILE, Format
from bottleneck.serve.graph import PIXELS, PROBABILITIES


@dataclass(frozen=True)
class Check:
    """How an exported file was compared with its run.

    Attributes
    ----------
    pictures : str
        On what pictures.
    largest_difference : float
        Between the probabilities of the file and the run's own.
    limit : float
        Above which it would have been refused.
    """

    pictures: str
    largest_difference: float
    limit: float

    def __str__(self) -> str:
        return (
            f"largest difference from the run's own probabilities {self.largest_difference:.1e} on {self.pictures} "
            f"(limit {self.limit:g})"
        )


def make_card(run: Run, kind: Format, check: Check, versions: Mapping[str, str]) -> str:
    """Write the card, in Markdown, with the fields the Hugging Face hub reads at its head.

    Parameters
    ----------
    run : Run
    kind : Format
    check : Check
    versions : dict
        Of the software that exported it.
    """
    return "\n".join(
        [
            *_head(run, kind),
            *_what(run, check),
            *_pictures(run),
            *_classes(run.classes),
            *_figures(run),
            *_origin(run, versions),
        ]
    )


def _head(run: Run, kind: Format) -> Iterator[str]:
    yield from ("---", f"library_name: {kind.library}", "pipeline_tag: image-classification")
    # no character of a base's name means anything in YAML
    yield from ("tags:", *(f"- {name}" for name in dict.fromkeys(r.base for r in run.recipes)))
    yield from ("---", "", f"# {kind.file}", "")
    yield f"An image classifier with {len(run.classes)} classes: {kind.summary}."


def _what(run: Run, check: Check) -> Iterator[str]:
    if run.random:
        yield from (
            "",
            "**The base's weights are RANDOM: this is for trying things out, no more.**",
        )
    yield from ("", f"A {_code(run.head)} head on features of:", "")
    for recipe in run.recipes:
        source, preprocessing = _describe(recipe)
        yield (
            f"- base {_code(recipe.base)} ({_plain(source)}), weights {_code(recipe.weights)} with digest "
            f"{_code(recipe.weights_digest)}, tap {_code(recipe.tap)}, pool {_code(recipe.pool)}; "
            f"{_formula(preprocessing)}, inside the graph"
        )
    if run.tuning and run.best == TUNED:
        stages = ", ".join(stage.stage for stage in run.tuning.stages)
        yield from (
            "",
            f"Base and head were then fine-tuned together, in the stages {_code(stages)}.",
        )
    yield from ("", f"Checked when it was exported: {check}.")
    if run.predict_views > 1 and run.best != TUNED:
        yield (
            f"The run averages over {run.predict_views} views of a picture; the graph takes one, and it was compared "
            "with the run's own on that one."
        )
    if any((recipe.precision, recipe.dtype) != ("float32", "float32") for recipe in run.recipes):
        yield (
            "The run computes or stores features in half precision, the graph computes in single precision: "
            "hence the difference."
        )


def _pictures(run: Run) -> Iterator[str]:
    size, fit = run.recipes[0].image_size, run.recipes[0].fit
    resized = (
        f"ImageOps.fit(picture, ({size}, {size}), Image.Resampling.BILINEAR)"
        if fit == "crop"
        else f"picture.resize(({size}, {size}), Image.Resampling.BILINEAR)"
    )
    yield from ("", "## Pictures", "")
    yield (
        f"In go `{PIXELS}`, uint8 RGB, shape (n, {size}, {size}, 3); out come `{PROBABILITIES}`, float32, shape "
        f"(n, {len(run.classes)}). A picture becomes pixels with Pillow:"
    )
    yield from (
        "",
        "```python",
        "picture = Image.open(file)",
        f"picture.draft(None, ({size}, {size}))",
    )
    yield 'picture = ImageOps.exif_transpose(picture).convert("RGB")'
    yield from (f"pixels = np.asarray({resized})", "```", "")
    yield "Transparency, if there is any, is laid over white first."


def _classes(classes: Sequence[str]) -> Iterator[str]:
    yield from ("", "## Classes", "", f"In the order of the outputs, also in `{CLASSES_FILE}`:", "")
    # Indented names in quotation marks: no line of it can end the block.
    yield from ("```json", _printable(json.dumps(list(classes), indent=1, ensure_ascii=False)))
    yield "```"


def _figures(run: Run) -> Iterator[str]:
    yield from ("", "## How good it is", "")
    yield "| split | images | accuracy | balanced accuracy | macro F1 | log loss |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for split, m in run.metrics.items():
        yield (
            f"| {_code(split)} | {m.images} | {m.accuracy:.4f} | {m.balanced_accuracy:.4f} | {m.macro_f1:.4f} "
            f"| {m.log_loss:.4f} |"
        )
    made = "given with the images" if run.split == "given" else "made by the images' digests"
    yield from ("", f"The split was {made}. Parameters were chosen on {_code(run.chosen_on)}.")
    if run.predict_views > 1 and run.best != TUNED:
        yield f"These figures are of averages over {run.predict_views} views."


def _origin(run: Run, versions: Mapping[str, str]) -> Iterator[str]:
    yield from ("", "## Where it comes from", "")
    yield f"- Images, labels and splits: digest {_code(run.data_digest)}"
    yield f"- Fitted {_code(run.created)} by {_code(run.command)}, seed {run.seed}"
    for done, by in (("Fitted", run.versions), ("Exported", versions)):
        yield f"- {done} with {_code(', '.join(f'{name} {number}' for name, number in by.items()))}"
    yield ""


def _describe(recipe: Recipe) -> tuple[str, Preprocessing]:
    if is_backbone(recipe.base):
        return "a network of its maker's own", PREPROCESSING[recipe.base.rsplit("-", 2)[1]]
    base = find_base(recipe.base)
    return base.source, base.preprocessing


def _formula(preprocessing: Preprocessing) -> str:
    order = "BGR" if preprocessing.bgr else "RGB"
    scale, offset = (
        ", ".join(f"{number:.6g}" for number in numbers)
        for numbers in (preprocessing.scale, preprocessing.offset)
    )
    return f"pixels ({order}) are multiplied by ({scale}) and ({offset}) is added"


def _printable(text: str) -> str:
    """Escape what does not show, or turns the direction of what follows, as JSON does."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _plain(text: str) -> str:
    """Text in which no character means anything in Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&])", r"\\\1", _printable(text).replace("\n", " "))


def _code(text: str) -> str:
    """Text as it is, whatever is in it, in a paragraph, a list or a table."""
    shown = _printable(" ".join(text.split())).replace("|", r"\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"
